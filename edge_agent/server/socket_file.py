"""The server's place in the file system: one path, one agent.

gRPC binds a path that is in use without a word and takes it from the agent before it, and it unlinks whatever lies
there at its end. So it binds a private name, which is then moved to its place in one step: no moment with the wrong
rights, nobody's socket taken, and only our own removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import uuid
from pathlib import Path
from typing import Optional, Tuple

from edge_agent.errors import ServerError, SocketInUseError

_MAX_PATH_BYTES = 107  # sun_path holds 108 with its closing zero
_MODE = 0o660


class SocketFile:
    """Locks a socket path from `claim` to `release`.

    Args:
        path: where clients connect.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.private = path.with_name(f".{uuid.uuid4().hex[:8]}.sock")
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._lock: Optional[int] = None
        self._placed: Optional[Tuple[int, int]] = None

    def claim(self) -> None:
        """Make sure that the path is free, and ours from now on.

        Raises:
            SocketInUseError: another agent serves there.
            ServerError: too long, no directory, no permission, or something there that is no socket.
        """
        self._check_path()
        self._lock = self._take_lock()
        try:
            self._probe()
        except BaseException:
            self.release()
            raise

    def place(self) -> None:
        """Move the bound private socket to its path, with its rights."""
        try:
            self.private.chmod(_MODE)
            status = self.private.lstat()
            self.private.rename(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                self.private.unlink()
            raise ServerError(str(self.path), f"cannot be put in place ({error.strerror})") from error
        self._placed = (status.st_dev, status.st_ino)

    def remove(self) -> None:
        """Remove the socket, unless somebody put another in its place."""
        if self._placed is None:
            return
        with contextlib.suppress(OSError):
            status = self.path.lstat()
            if (status.st_dev, status.st_ino) == self._placed:
                self.path.unlink()
        self._placed = None

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            self._lock_path.unlink()
        os.close(self._lock)
        self._lock = None

    def _check_path(self) -> None:
        longest = max(len(os.fsencode(self.path)), len(os.fsencode(self.private)))
        if longest > _MAX_PATH_BYTES:
            raise ServerError(
                str(self.path),
                f"is too long for a Unix socket ({longest} bytes; the limit is {_MAX_PATH_BYTES})",
                "Choose a shorter path.",
            )
        if not self.path.parent.is_dir():
            raise ServerError(str(self.path), "lies in a directory that does not exist", "Create the directory first.")

    def _take_lock(self) -> int:
        while True:
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(self._lock_path, flags, _MODE)
            except OSError as error:
                raise ServerError(str(self._lock_path), f"cannot be opened ({error.strerror})") from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                raise self._in_use() from error
            # Whoever held it may have unlinked it between our two calls: then this lock protects nothing.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(descriptor), self._lock_path.lstat()):
                    return descriptor
            os.close(descriptor)

    def _probe(self) -> None:
        """An agent that knows nothing of our lock still answers on its socket."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(status.st_mode):
            raise ServerError(str(self.path), "exists and is no socket", "Remove it, or choose another path.")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(0)  # a full backlog also means that somebody listens
            try:
                probe.connect(str(self.path))
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:
                    return  # stale: `place` replaces it
                if error.errno not in (errno.EAGAIN, errno.EINPROGRESS):
                    raise ServerError(str(self.path), f"cannot be probed ({error.strerror})") from error
        raise self._in_use()

    def _in_use(self) -> SocketInUseError:
        return SocketInUseError(
            str(self.path), "another Edge Agent serves on this socket", "Stop it, or choose another path."
        )
