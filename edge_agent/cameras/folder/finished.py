"""What becomes of files whose frames are settled: kept and noted, moved or deleted."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import threading
from collections import deque
from pathlib import Path
from typing import Deque, Dict, Optional, Tuple

from edge_agent.cameras.folder.listing import State
from edge_agent.cameras.folder.memory import Memory
from edge_agent.cameras.folder.settings import FolderSettings
from edge_agent.cameras.folder.settling import state_of
from edge_agent.errors import CameraError
from edge_agent.outage import Outage

_log = logging.getLogger(__name__)


class Finished:
    """Files are handed in by any thread, and none waits for the disk or the network mount that they are on.

    The camera's thread does what there is to do, and after its end a thread that lives as long as that takes. A file
    that cannot be moved or deleted stays where it is, which is logged once: inspecting goes on.
    """

    def __init__(self, settings: FolderSettings) -> None:
        self._settings = settings
        self._directory = Path(settings.path)
        self._memory = Memory(Path(settings.remember)) if settings.remember else None
        self._waiting: Deque[Tuple[str, State]] = deque()
        self._lock = threading.Lock()
        # Who does the work, while the camera does not: held with the lock.
        self._camera_runs = False
        self._helper: Optional[threading.Thread] = None
        self._working = threading.Lock()
        self._outage = Outage(_log, f"{settings.path}: files that are done")

    def open(self) -> Dict[str, int]:
        """The camera's thread will call `work` from now on.

        Returns:
            What is remembered: by name, the key of the state in which a file was inspected last.

        Raises:
            CameraError: files cannot be moved, deleted or remembered there.
        """
        settings = self._settings
        if settings.done != "keep" and not os.access(settings.path, os.W_OK | os.X_OK):
            raise CameraError(settings.path, f"does not let its files be {settings.done}d", "Give the right to write.")
        if settings.done == "move" and not _is_writable_directory(Path(settings.move_to)):
            raise CameraError(settings.move_to, "is no directory that can be written", "Create it for `move_to`.")
        known = {} if self._memory is None else self._memory.read()
        with self._lock:
            self._camera_runs = True
        return known

    def forget_all_but(self, known: Dict[str, int]) -> None:
        """Remember no files but these, where many others have gone."""
        if self._memory is None:
            return
        try:
            self._memory.forget_all_but(known)
        except OSError as error:
            self._outage.report(CameraError(self._settings.remember, f"cannot be written ({error.strerror})"))

    def add(self, name: str, state: State) -> None:
        """The frame of the file in this state is settled."""
        with self._lock:
            self._waiting.append((name, state))
            if not self._camera_runs and self._helper is None:
                # No daemon: a run that ends waits for it.
                self._helper = threading.Thread(target=self._help, name="folder-done")
                self._helper.start()

    def give_up(self, name: str, state: State) -> None:
        """The file in this state never became a frame."""
        if self._settings.done == "keep":
            with self._working:
                self._finish(name, state)

    def work(self) -> None:
        """Do what was handed in."""
        while self._waiting:
            with self._working, contextlib.suppress(IndexError):
                self._finish(*self._waiting.popleft())

    def close(self) -> None:
        """The camera's thread does no more of it after this."""
        with self._lock:
            self._camera_runs = False
        self.work()

    def _help(self) -> None:
        while True:
            self.work()
            with self._lock:
                if not self._waiting:
                    self._helper = None
                    return

    def _finish(self, name: str, state: State) -> None:
        path = self._directory / name
        try:
            if self._settings.done == "keep":
                if self._memory is not None:
                    self._memory.note(name, state.key)
            # A file that was written anew meanwhile is another frame.
            elif state_of(path) == state:
                if self._settings.done == "delete":
                    path.unlink()
                else:
                    _move(path, Path(self._settings.move_to), state)
        except FileNotFoundError:
            pass  # Somebody else took it away.
        except OSError as error:
            reason = f"has files that cannot be {_PAST[self._settings.done]} ({error.strerror})"
            self._outage.report(CameraError(str(self._directory), reason))
            return
        self._outage.over()


_PAST = {"keep": "noted as inspected", "move": "moved", "delete": "deleted"}


def _move(path: Path, directory: Path, state: State) -> None:
    """Under its own name; under one with its time where that name is taken."""
    target = directory / path.name
    if target.exists():
        target = directory / f"{path.stem}-{state.modified_ns}{path.suffix}"
    try:
        path.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another file system: no half-copied file may stand there under its name.
        partial = target.with_name(f".{target.name}.part")
        try:
            shutil.copy2(path, partial)
            partial.rename(target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()
        path.unlink()


def _is_writable_directory(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)
