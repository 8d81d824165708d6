"""The recorder's worker: images from a bounded queue to the disk, on a thread of its own.

It has the priority of the others: a thread that gives way may do so while it holds the interpreter's lock.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Literal, Optional

from edge_agent.clock import Clock
from edge_agent.errors import EdgeAgentError, RecorderError, RecorderFullError
from edge_agent.frame import Frame, Pixels
from edge_agent.inspection import Inspection, findings
from edge_agent.outage import Outage
from edge_agent.recorder.books import RecorderBooks
from edge_agent.recorder.choice import Wanted
from edge_agent.recorder.errands import Errands
from edge_agent.recorder.folding import Folding
from edge_agent.recorder.keeper import Item, Keeper
from edge_agent.recorder.manifest import Listed
from edge_agent.recorder.review import Verdict
from edge_agent.recorder.settings import RecorderSettings
from edge_agent.recorder.upload.queue import UploadQueue

_log = logging.getLogger(__name__)

#: opening   it looks at what is there
#: working   images are written
#: trouble   the disk takes none now; each next image is a try
#: stopped   closed
#: faulty    stopped by a fault of ours
State = Literal["opening", "working", "trouble", "stopped", "faulty"]

# How often to look for images that are too old, and for the free disk while nothing is recorded.
_TIDY_S = 60.0
_RETRY_S = 5.0

# How long somebody at the live page waits for the thread.
_ERRAND_S = 10.0

#: Gives the mask of the frame at hand, RGB888 of shape (height, width, 3); None where there is none.
TakeMask = Callable[[], Optional[Pixels]]


class Writer:
    """`put` returns at once, in whichever thread, but for one copy of the pixels.

    Args:
        settings: of the recorder.
        books: of a lane.
        clock: time.
        uploads: where images wait for their upload; None: there is none.
    """

    def __init__(
        self,
        settings: RecorderSettings,
        books: Callable[[str], RecorderBooks],
        clock: Clock,
        uploads: Optional[UploadQueue] = None,
    ) -> None:
        self.settings = settings
        self._books = books
        self._clock = clock
        self._keeper = Keeper(settings, books, clock, uploads)
        self._changed = threading.Condition()
        self._errands = Errands(self._changed)
        self._folding = Folding(self._keeper.journals, self._errands, clock)
        self._items: Deque[Item] = deque()
        self._reserved = 0
        self._state: State = "opening"
        self._ending = False
        self._close_by_ns: Optional[int] = None
        self._trouble: Optional[str] = None
        self._outage = Outage(_log, "recorder")
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, frame: Frame, inspection: Inspection, wanted: Wanted, mask: TakeMask) -> Optional[str]:
        """Have the frame's image written; why not, as a cause to count, where it cannot."""
        with self._changed:
            if self._ending or self._state in ("stopped", "faulty"):
                return "stopped"
            if len(self._items) + self._reserved >= self.settings.queue:
                return "full"
            self._reserved += 1
        item: Optional[Item] = None
        try:
            wants_mask = self.settings.masks and _shows_anomaly(inspection, wanted)
            item = Item(frame.pixels.copy(), _fitting(mask, frame) if wants_mask else None, inspection, wanted)
        finally:
            with self._changed:
                self._reserved -= 1
                if item is not None:
                    self._items.append(item)
                    self._changed.notify_all()
        return None

    def review(self, image: Listed, verdict: Optional[Verdict], note: str) -> bytes:
        """Have a review written on the thread, and wait for that; see Keeper."""
        return self._errands.ask(lambda: self._keeper.review(image, verdict, note), _ERRAND_S)

    def waiting(self) -> int:
        """Images that wait while the disk takes them."""
        with self._changed:
            return 0 if self._trouble else len(self._items)

    def finish(self) -> None:
        """Nothing more is put: write what waits, and end."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """End within so many seconds; what still waits is dropped."""
        with self._changed:
            self._ending = True
            self._close_by_ns = self._clock.monotonic_ns() + round(timeout * 1e9)
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if self._thread.is_alive():
            _log.warning("recorder: is not done in time; left alone")
            with self._changed:
                self._drop_waiting()

    def leave(self) -> None:
        """After `close`: what is kept is nobody's any more."""
        self._keeper.leave()

    def faulty(self) -> bool:
        """Whether a fault of ours stopped it; the log has the traceback."""
        with self._changed:
            return self._state == "faulty"

    def status(self) -> Dict[str, Any]:
        with self._changed:
            return {
                "state": self._state,
                "directory": str(self._keeper.directory),
                "bytes": self._keeper.bytes,
                "free_bytes": self._keeper.free_bytes,
                "trouble": self._trouble,
            }

    # The thread.

    def _run(self) -> None:
        try:
            self._write_until_closed()
            self._fold_the_rest()
            end: State = "stopped"
        except Exception:  # noqa: BLE001 - whatever it is, the lanes go on
            _log.exception("recorder: stopped by an internal error")
            end = "faulty"
        self._refuse_reviews()
        self._keeper.close()
        with self._changed:
            self._state = end
            self._drop_waiting()

    def _write_until_closed(self) -> None:
        self._try_to(self._keeper.open)
        while True:
            with self._changed:
                woken = self._changed.wait_for(self._has_work, self._pause_s())
                if self._ending and (not self._items or self._is_over()):
                    return
                item = self._items.popleft() if self._items else None
            did_errand = self._errands.do_one()
            if item is not None:
                self._settle(item)
            elif not did_errand and not woken:
                self._try_to(self._keeper.tidy if self._keeper.is_open else self._keeper.open)
            self._folding.look()

    def _fold_the_rest(self) -> None:
        """What time does not allow, the next opening does."""
        self._refuse_reviews()
        if self._keeper.is_open and not self._is_over():
            self._try_to(self._keeper.fold)

    def _refuse_reviews(self) -> None:
        with self._changed:
            self._errands.refuse()
        self._folding.close()

    def _has_work(self) -> bool:
        return bool(self._items) or self._errands.waiting() or self._ending

    def _pause_s(self) -> float:
        pause_s = _TIDY_S if self._keeper.is_open and self._trouble is None else _RETRY_S
        fold_s = self._folding.pause_s()
        return pause_s if fold_s is None else min(pause_s, fold_s)

    def _is_over(self) -> bool:
        return self._close_by_ns is not None and self._clock.monotonic_ns() >= self._close_by_ns

    def _settle(self, item: Item) -> None:
        """Bring the image to exactly one counted place."""
        books = self._books(item.inspection.camera)
        causes: List[str] = []

        def write() -> None:
            if not self._keeper.is_open:
                self._keeper.open()
            self._keeper.tidy()
            causes.append(self._keeper.write(item))

        try:
            error = self._try_to(write)
        except BaseException:
            books.drop("internal")
            raise
        if error is not None:
            books.drop("disk_full" if isinstance(error, RecorderFullError) else "disk_failed")
        elif causes[0]:
            books.drop(causes[0])

    def _try_to(self, work: Callable[[], None]) -> Optional[RecorderError]:
        try:
            work()
        except RecorderError as error:
            self._outage.report(error)
            with self._changed:
                self._trouble, self._state = str(error), "trouble"
            return error
        self._outage.over()
        with self._changed:
            self._trouble, self._state = None, "working"
        return None

    def _drop_waiting(self) -> None:
        while self._items:
            self._books(self._items.popleft().inspection.camera).drop("stopped")


def _fitting(mask: TakeMask, frame: Frame) -> Optional[Pixels]:
    """The mask, where it labels the frame's pixels: an agent may answer with one of another size, or with no good one."""
    try:
        taken = mask()
    except EdgeAgentError as error:
        _log.warning("lane %s: recorded without its mask: %s", frame.camera, error, extra={"lane": frame.camera})
        return None
    return taken if taken is not None and taken.shape == frame.pixels.shape else None


def _shows_anomaly(inspection: Inspection, wanted: Wanted) -> bool:
    """Whether a mask says what is wrong: something was found, and no person says that nothing is."""
    return inspection.is_anomalous and bool(findings(inspection.anomalies)) and wanted.label != "normal"
