"""Which images wait for their upload: a file for each beside them, which holds the image's line of the manifest.

    upload/20261121T140530.123456Z_<lane>_<sequence>.jpg.line

The file gets its name right after the image got its own, and goes when the image is in S3 or was taken away,
by whoever is first: so a kill at any moment leaves each image to be uploaded or done, and each is counted once. It is not
the spool (edge_agent/spool), whose entries lie in a database of their own: an image and its place in the queue must come
and go together, from anywhere in the middle.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

from edge_agent.inspection import Inspection
from edge_agent.recorder.choice import Wanted
from edge_agent.recorder.names import NAME, Kept
from edge_agent.recorder.upload.books import UploadBooks
from edge_agent.recorder.upload.settings import UploadSettings

_DIRECTORY, _DRAFT, _SUFFIX = "upload", ".draft", ".line"


class Waiting(NamedTuple):
    """An image that waits: its file in the queue, its lane, and its reference."""

    file: Path
    lane: str
    reference: str


class UploadQueue:
    """The recorder's worker puts in and takes out what is removed, the uploader what is done.

    All methods raise OSError.

    Args:
        root: the recorder's directory.
        settings: of the upload.
        books: which are kept here.

    Attributes:
        news: set when something may wait.
    """

    def __init__(self, root: Path, settings: UploadSettings, books: UploadBooks) -> None:
        self._root = root
        self._directory = root / _DIRECTORY
        self._rules = tuple(settings.rules.values())
        self._books = books
        self._lock = threading.Lock()
        self._is_open = self._is_left = False
        self.news = threading.Event()

    def open(self) -> None:
        """Put right what a kill left, and count what waits. The images were looked through before."""
        self._directory.mkdir(mode=0o750, exist_ok=True)
        self._mend()
        lanes = Counter(self._waiting(name).lane for name in self._names())
        for lane, count in lanes.items():
            self._books.find(lane, count)
        self._is_open = True
        self.news.set()

    def wants(self, inspection: Inspection, wanted: Wanted) -> bool:
        """Whether an image that is recorded is to be uploaded."""
        if not self._rules or wanted.reason == "command":
            return True
        return any(rule.is_met_by(inspection) for rule in self._rules)

    def draft(self, line: bytes) -> None:
        """An image is about to get its name; this is its line."""
        self._directory.mkdir(mode=0o750, exist_ok=True)  # a person may have taken it away
        (self._directory / _DRAFT).write_bytes(line)

    def commit(self, reference: str, lane: str) -> None:
        """The image of the draft is there, and waits from now on."""
        with self._lock:  # nobody settles what is not counted yet
            (self._directory / _DRAFT).rename(self._file(reference))
            self._books.want(lane)
        self.news.set()

    def discard(self) -> None:
        """There will be no image to the draft. Never raises."""
        with contextlib.suppress(OSError):
            (self._directory / _DRAFT).unlink()

    def again(self, reference: str, lane: str, line: bytes) -> None:
        """A recorded image has another line; it goes up with that one, whether it waits still or not. By the thread of `draft`."""
        self.draft(line)
        with self._lock:
            waits_still = self._file(reference).exists()
            (self._directory / _DRAFT).rename(self._file(reference))
            if not waits_still:
                self._books.want(lane)
        self.news.set()

    def waits(self, kept: Kept) -> bool:
        return self._file(kept.reference).exists()

    def removed(self, reference: str, lane: str) -> None:
        """An image was taken away; it is lost to S3 if it waited still."""
        self._settle(Waiting(self._file(reference), lane, reference), "removed")

    def first(self, count: int) -> List[Waiting]:
        """Those that wait, by the time of capture, the oldest first; memory is held for so many only."""
        names = heapq.nsmallest(count, self._names()) if self._is_open else []
        return [self._waiting(name) for name in names]

    def uploaded(self, waiting: Waiting, text: bytes) -> None:
        """It is in S3, as its file said when that was `text`; one that says something else now waits on."""
        self._settle(waiting, None, text)

    def lost(self, waiting: Waiting, cause: str) -> None:
        """It cannot be uploaded."""
        self._settle(waiting, cause)

    def leave(self) -> None:
        """What waits is left where it is: another queue may find it."""
        with self._lock:
            self._is_left = True
            self._books.leave()

    def _settle(self, waiting: Waiting, cause: Optional[str], text: Optional[bytes] = None) -> None:
        """Of those who come here, the one counts that the file goes by."""
        with self._lock:
            if self._is_left:
                return
            try:
                if text is not None and waiting.file.read_bytes() != text:
                    return
                waiting.file.unlink()
            except FileNotFoundError:
                return
            if cause is None:
                self._books.upload(waiting.lane)
            else:
                self._books.lose(waiting.lane, cause)

    def _file(self, reference: str) -> Path:
        return self._directory / (reference.rpartition("/")[2] + _SUFFIX)

    def _names(self) -> Iterator[str]:
        """Of images that wait, in any order."""
        with os.scandir(self._directory) as entries:
            for entry in entries:
                name = entry.name[: -len(_SUFFIX)]
                if entry.name.endswith(_SUFFIX) and NAME.fullmatch(name):
                    yield name

    def _waiting(self, name: str) -> Waiting:
        match = NAME.fullmatch(name)
        assert match is not None  # noqa: S101 - `_names` gives no other
        return Waiting(self._file(name), match.group("lane"), f"{name[:8]}/{name[9:11]}/{name}")

    def _mend(self) -> None:
        """A draft that a kill left waits if its image got so far as to have its name."""
        draft = self._directory / _DRAFT
        try:
            reference = json.loads(draft.read_bytes())["source-ref"]
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            self.discard()
            return
        name = reference.rpartition("/")[2] if isinstance(reference, str) else ""
        if NAME.fullmatch(name) and (self._root / f"{name[:8]}/{name[9:11]}/{name}").exists():
            draft.rename(self._file(name))
        else:
            self.discard()
