"""A directory as a camera: every image file in it is a frame, oldest first.

A file counts once; one that is written anew under the same name (another size, time or inode) counts again. Files
stay where they are.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path
from typing import Deque, Dict, List, NamedTuple, Optional, Tuple

from edge_agent.cameras.base import Captured, Reserve
from edge_agent.cameras.decode import SUFFIXES, decode_image
from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.errors import CameraNotConnectedError, EndOfInputError


class FolderSettings(Settings, frozen=True, tag_field="type", tag="folder"):
    """A directory of images.

    Attributes:
        path: the directory.
        watch: go on and take new files as they come; false: end after the files that are there.
        poll_s: seconds between two looks at the directory.
        settle_s: a new file is taken when its size and time have not changed for so long; 0 where files are
            moved in whole.
    """

    path: str
    watch: bool = True
    poll_s: float = 0.2
    settle_s: float = 0.5

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("`path` is empty")
        if self.poll_s <= 0 or self.settle_s < 0:
            raise ValueError("`poll_s` must be above 0 and `settle_s` not below it")


class _State(NamedTuple):
    modified_ns: int
    size: int
    inode: int


class FolderCamera:
    """See the module's text. Used by one thread at a time."""

    free_running = False

    def __init__(self, settings: FolderSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._directory = Path(settings.path)
        self._ready: Deque[Tuple[str, _State]] = deque()
        self._taken: Dict[str, _State] = {}
        # name: its state, and the monotonic time since when it is so
        self._settling: Dict[str, Tuple[_State, int]] = {}
        self._listed = False

    def open(self) -> None:
        if not self._directory.is_dir():
            raise CameraNotConnectedError(str(self._directory), "is not a directory", "Create it or correct `path`.")

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        deadline = self._clock.monotonic_ns() + int(timeout * 1e9)
        while True:
            path = self._take()
            if path is not None:
                break
            if self._listed and not self._settings.watch:
                raise EndOfInputError(str(self._directory), "has no more images")
            self._look()
            if self._ready:
                continue
            left = (deadline - self._clock.monotonic_ns()) / 1e9
            if left <= 0:
                return None
            self._clock.sleep(min(left, self._settings.poll_s))
        captured_at_ns, captured_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        pixels = decode_image(path, reserve)
        return Captured(source=path.name, captured_at_ns=captured_at_ns, captured_ns=captured_ns, pixels=pixels)

    def close(self) -> None:
        self._ready.clear()
        self._settling.clear()
        self._listed = False

    def _take(self) -> Optional[Path]:
        """The oldest file that is ready and still there."""
        while self._ready:
            name, state = self._ready.popleft()
            path = self._directory / name
            if path.exists():
                self._taken[name] = state
                return path
        return None

    def _look(self) -> None:
        """List the directory and move what is new and settled to the ready queue, oldest first."""
        states = self._list()
        self._listed = True
        now = self._clock.monotonic_ns()
        ready: List[Tuple[int, str]] = []
        for name, state in states.items():
            if self._taken.get(name) == state:
                continue
            if self._is_settled(name, state, now):
                ready.append((state.modified_ns, name))
        for gone in self._taken.keys() - states.keys():
            del self._taken[gone]
        for gone in self._settling.keys() - states.keys():
            del self._settling[gone]
        self._ready.extend((name, states[name]) for _, name in sorted(ready))

    def _is_settled(self, name: str, state: _State, now: int) -> bool:
        if not self._settings.watch or self._settings.settle_s == 0:
            return True
        known, since = self._settling.get(name, (None, now))
        if known != state:
            self._settling[name] = (state, now)
            return False
        if now - since < self._settings.settle_s * 1e9:
            return False
        del self._settling[name]
        return True

    def _list(self) -> Dict[str, _State]:
        states: Dict[str, _State] = {}
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    # A name that starts with a dot is how other programs mark a file they still write.
                    if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file():
                        # Another program may take it away meanwhile; the rest are listed all the same, for a name
                        # that is not listed is forgotten, and its file would be taken again.
                        with contextlib.suppress(FileNotFoundError):
                            status = entry.stat()
                            states[entry.name] = _State(status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError as error:
            raise CameraNotConnectedError(str(self._directory), "is gone", "Create it again.") from error
        except OSError as error:
            raise CameraNotConnectedError(str(self._directory), f"cannot be listed ({error.strerror})") from error
        return states
