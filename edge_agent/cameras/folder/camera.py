"""A directory as a camera.

A file counts once; one that is written anew under the same name (another size or time) counts again.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Optional

from edge_agent.cameras.base import Captured, Reserve
from edge_agent.cameras.decode import decode_image
from edge_agent.cameras.folder.finished import Finished
from edge_agent.cameras.folder.search import Search
from edge_agent.cameras.folder.settings import FolderSettings
from edge_agent.cameras.folder.settling import Candidate, state_of
from edge_agent.clock import Clock
from edge_agent.errors import CameraNotConnectedError, ImageError

# What reading says when a network mount has gone.
_GONE = {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV}


class FolderCamera:
    """See the module's text. Used by one thread at a time."""

    free_running = False

    def __init__(self, settings: FolderSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._directory = Path(settings.path)
        self._search = Search(settings, clock)
        self._finished = Finished(settings)
        self._is_open = False
        # Whether what is remembered was compared with what is there.
        self._is_tidy = False

    def open(self) -> None:
        self.close()
        self._search.open()
        remembered = self._finished.open()
        self._search.seen = {**remembered, **self._search.seen}
        self._is_open = True

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        if not self._is_open:
            raise CameraNotConnectedError(str(self._directory), "is not open")
        deadline_ns = self._clock.monotonic_ns() + int(timeout * 1e9)
        while True:
            self._finished.work()
            candidate = self._search.next(deadline_ns)
            if not self._is_tidy and self._search.has_looked:
                # What was remembered and not found is gone.
                self._finished.forget_all_but(self._search.seen)
                self._is_tidy = True
            if candidate is None:
                return None
            captured = self._capture(candidate, reserve)
            if captured is not None:
                return captured

    def close(self) -> None:
        self._is_open = False
        self._finished.close()

    def _capture(self, candidate: Candidate, reserve: Reserve) -> Optional[Captured]:
        """The file as a frame; None when it is gone, or is to be tried again later."""
        name, state = candidate.name, candidate.state
        wall_ns, monotonic_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        try:
            pixels = decode_image(self._directory / name, reserve)
        except ImageError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _GONE:
                self._search.forget(name)
                raise CameraNotConnectedError(str(self._directory), f"cannot be read ({error.reason})") from error
            if state_of(self._directory / name) is None or self._is_tried_again(candidate):
                return None
            # It stays where it is, whatever is done with others: its writer may come back to it.
            self._finished.give_up(name, state)
            raise
        return Captured(name, wall_ns, monotonic_ns, pixels, settled=lambda: self._finished.add(name, state))

    def _is_tried_again(self, candidate: Candidate) -> bool:
        """A writer that rests longer than files usually take to settle leaves a torn file for a while."""
        due_ns = candidate.since_ns + int(self._settings.torn_s * 1e9)
        is_early = self._settings.watch and self._clock.monotonic_ns() < due_ns
        return is_early and self._search.try_again(candidate, due_ns)
