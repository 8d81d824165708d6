"""Who runs a job: whoever holds its lock. The kernel gives a lock back when the process that holds it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Iterator, Optional

from edge_agent.errors import PackagingError


class JobLocks:
    """A lock for each job.

    Args:
        directory: of the state.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "locks"

    @contextlib.contextmanager
    def try_lock(self, number: int) -> Iterator[Optional[int]]:
        """The descriptor of the lock of job `number`, or None where another process holds it.

        A child that inherits the descriptor holds the lock, too, until it ends.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._file(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PackagingError(str(self._directory), f"cannot be used ({error.strerror})") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield descriptor
        finally:
            os.close(descriptor)

    def forget(self, number: int) -> None:
        """For a job that is over: nobody will lock it again."""
        with contextlib.suppress(OSError):
            self._file(number).unlink()

    def _file(self, number: int) -> Path:
        return self._directory / f"{number}.lock"
