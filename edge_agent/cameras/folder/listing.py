"""One look through a directory, in pieces: however many files there are, a piece takes a bounded time."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional

from edge_agent.cameras.decode import SUFFIXES
from edge_agent.clock import Clock
from edge_agent.errors import CameraNotConnectedError

# Entries between two looks at the clock: 1 to 2 ms on a local disk.
_PIECE = 500


class State(NamedTuple):
    """What tells one content of a file from another. Inodes are not part of it: some network mounts make them up."""

    modified_ns: int
    size: int

    @property
    def key(self) -> int:
        """The same as one number, which takes a third of the memory."""
        return self.modified_ns << 40 ^ self.size


class Found(NamedTuple):
    """A new file. They sort oldest first, then by name."""

    modified_ns: int
    name: str
    state: State


class Listing:
    """One look.

    Args:
        directory: to look through.
        seen: by name, the key of the state that counts as known.
        limit: at most so many of the oldest new files are kept.

    Attributes:
        new: the oldest new files, in order, when it is done.
        more: whether there were more of them than the limit.
        still: what of `seen` is still there, when it is done.
        cost_ns: how long it took, without what happened between the pieces.
    """

    def __init__(self, directory: Path, seen: Dict[str, int], limit: int, clock: Clock) -> None:
        self.new: List[Found] = []
        self.more = False
        self.still: Dict[str, int] = {}
        self.cost_ns = 0
        self._directory = directory
        self._seen = seen
        self._limit = limit
        self._clock = clock
        self._entries: Optional[Iterator[os.DirEntry[str]]] = None

    def advance(self, deadline_ns: int) -> bool:
        """Go on until it is done or the time has come, with one piece at least; true when it is done.

        Raises:
            CameraNotConnectedError: the directory is gone, or cannot be listed.
        """
        started_ns = self._clock.monotonic_ns()
        try:
            if self._entries is None:
                self._entries = os.scandir(self._directory)
            while self._take_piece(self._entries):
                if self._clock.monotonic_ns() >= deadline_ns:
                    return False
        except OSError as error:
            raise CameraNotConnectedError(str(self._directory), f"cannot be listed ({error.strerror})") from error
        finally:
            self.cost_ns += self._clock.monotonic_ns() - started_ns
        self._shorten()
        return True

    def _take_piece(self, entries: Iterator[os.DirEntry[str]]) -> bool:
        """Whether there are more entries."""
        piece = list(itertools.islice(entries, _PIECE))
        for entry in piece:
            # A name that starts with a dot is how other programs mark a file they still write.
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
                # A file that went while it was listed is no reason to stop.
                with contextlib.suppress(FileNotFoundError):
                    self._take(entry)
        return bool(piece)

    def _take(self, entry: os.DirEntry[str]) -> None:
        if not entry.is_file():
            return
        status = entry.stat()
        state = State(status.st_mtime_ns, status.st_size)
        key = state.key
        if self._seen.get(entry.name) == key:
            self.still[entry.name] = key
            return
        self.new.append(Found(state.modified_ns, entry.name, state))
        if len(self.new) >= 2 * self._limit:
            self._shorten()

    def _shorten(self) -> None:
        self.new.sort()
        self.more = self.more or len(self.new) > self._limit
        del self.new[self._limit :]
