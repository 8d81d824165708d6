"""The recorder as the lanes and the operator know it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from edge_agent.clock import Clock
from edge_agent.errors import ConfigError
from edge_agent.frame import Frame
from edge_agent.inspection import Inspection
from edge_agent.recorder.books import RecorderBooks
from edge_agent.recorder.choice import Choice, Label
from edge_agent.recorder.gallery import Gallery
from edge_agent.recorder.query import Recorded
from edge_agent.recorder.review import Verdict
from edge_agent.recorder.settings import RecorderSettings
from edge_agent.recorder.upload.books import UploadBooks
from edge_agent.recorder.upload.queue import UploadQueue
from edge_agent.recorder.upload.uploader import Uploader
from edge_agent.recorder.writer import TakeMask, Writer

_log = logging.getLogger(__name__)

# A writer that is replaced has its directory until it is closed.
_REPLACE_S = 5.0


class Recorder:
    """An onlooker of every lane. Safe to use from any thread; the books go on across all changes.

    Args:
        clock: time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changing = threading.Lock()
        self._lock = threading.Lock()
        self._books: Dict[str, RecorderBooks] = {}
        self._upload_books = UploadBooks()
        # Replaced as a whole.
        self._now: Optional[_Now] = None

    def apply(self, settings: RecorderSettings) -> bool:
        """Record as the settings say; whether that is another way than before."""
        with self._changing:
            now = self._now
            if (RecorderSettings() if now is None else now.settings) == settings:
                return False
            self._now = None
            if now is not None:
                now.close(_REPLACE_S)
                now.leave()
            if settings.path:
                now = _Now(settings, self._clock, self.books, self._upload_books)
                now.start()
                self._now = now
            return True

    def look(self, frame: Frame, inspection: Inspection, mask: TakeMask) -> None:
        """A frame was inspected; its pixels are copied, and its mask is asked for, where they are wanted."""
        now = self._now
        if now is None or not now.serves(frame.camera):
            return
        books = self.books(frame.camera)
        books.offer()
        wanted = now.choice.of(inspection)
        if wanted is None:
            books.skip()
            return
        try:
            cause = now.writer.put(frame, inspection, wanted, mask)
        except BaseException:
            books.drop("internal")
            raise
        if cause is not None:
            books.drop(cause)
            now.choice.give_back(frame.camera, wanted)

    def ask(self, lane: str, frames: int, label: Optional[Label]) -> int:
        """Have the next frames of a lane recorded, labelled by a person where `label` is given.

        Returns:
            How many are asked for by now.

        Raises:
            ConfigError: nothing is recorded, or not of this lane.
        """
        now = self._in_force()
        if not now.serves(lane):
            raise ConfigError(f"recorder: lane {lane}", "is not recorded", "Add it to `recorder.lanes`.")
        now.choice.ask(lane, frames, label)
        return now.choice.asked(lane)

    def gallery(self) -> Gallery:
        """What is recorded; ConfigError where nothing is."""
        return Gallery(Path(self._in_force().settings.path).absolute())

    def review(self, lane: str, name: str, verdict: Optional[Verdict], note: str) -> Recorded:
        """Write what a person says of the model's verdict on an image, or take it back for None; returns when it is on disk.

        Args:
            lane: by its name.
            name: of the image's file, without its ending.
            verdict: whether the model is right.
            note: at most MAX_NOTE characters.

        Raises:
            ConfigError: nothing is recorded.
            ReviewError: it cannot be reviewed; ImageGoneError where it is not there.
            RecorderError: it cannot be written.
        """
        now, gallery = self._in_force(), self.gallery()
        line = now.writer.review(gallery.listed(lane, name), verdict, note)
        _log.info("review of %s: %s", name, verdict or "taken back", extra={"lane": lane})
        return gallery.one(lane, line)

    def books(self, lane: str) -> RecorderBooks:
        with self._lock:
            return self._books.setdefault(lane, RecorderBooks())

    def waiting(self) -> int:
        """Images that wait while the disk takes them."""
        now = self._now
        return 0 if now is None else now.writer.waiting()

    def faulty(self) -> bool:
        """Whether a fault of ours stopped it; the log has the traceback."""
        now = self._now
        return now is not None and now.writer.faulty()

    def upload_faulty(self) -> bool:
        """Whether a fault of ours stopped the upload; the log has the traceback."""
        now = self._now
        return now is not None and now.uploader is not None and now.uploader.faulty()

    def status(self) -> Dict[str, Any]:
        """For the report: `state`, `upload` and `lanes` alone while nothing is recorded."""
        now = self._now
        with self._lock:
            books = dict(self._books)
        status: Dict[str, Any] = {"state": "off"} if now is None else now.writer.status()
        uploader = None if now is None else now.uploader
        upload: Dict[str, Any] = {"state": "off"} if uploader is None else uploader.status()
        return {
            **status,
            "upload": {**upload, **self._upload_books.as_dict()},
            "lanes": {lane: one.snapshot().as_dict() for lane, one in books.items()},
        }

    def finish(self) -> None:
        """Nothing more is offered: write what waits."""
        now = self._now
        if now is not None:
            now.writer.finish()

    def close(self, timeout: float) -> None:
        """End within so many seconds; what still waits is dropped."""
        now = self._now
        if now is not None:
            now.close(timeout)
        waiting = self._upload_books.waiting()
        if waiting:
            _log.warning("recorder: wait on disk for their upload by the next run: %d images", waiting)

    def _in_force(self) -> _Now:
        now = self._now
        if now is None:
            raise ConfigError("recorder", "is not configured", "Set `recorder.path`.")
        return now


class _Now:
    """The settings in force, and what they set up."""

    def __init__(
        self,
        settings: RecorderSettings,
        clock: Clock,
        books: Callable[[str], RecorderBooks],
        upload_books: UploadBooks,
    ) -> None:
        self.settings = settings
        self.choice = Choice(settings)
        self.uploader: Optional[Uploader] = None
        self._queue: Optional[UploadQueue] = None
        upload, root = settings.upload, Path(settings.path).absolute()
        if upload.bucket:
            self._queue = UploadQueue(root, upload, upload_books)
            self.uploader = Uploader(root, upload, self._queue, upload_books, clock)
        self.writer = Writer(settings, books, clock, self._queue)

    def start(self) -> None:
        self.writer.start()
        if self.uploader is not None:
            self.uploader.start()

    def close(self, timeout: float) -> None:
        """End within so many seconds each."""
        self.writer.close(timeout)
        if self.uploader is not None:
            self.uploader.close(timeout)

    def leave(self) -> None:
        """After `close`: what is kept, and what waits for its upload, is nobody's any more."""
        self.writer.leave()
        if self._queue is not None:
            self._queue.leave()

    def serves(self, lane: str) -> bool:
        return not self.settings.lanes or lane in self.settings.lanes
