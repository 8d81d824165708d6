"""What is on the recorder's disk: images are written, found and taken away, and the books say so."""

from __future__ import annotations

import logging
from typing import Callable, List, NamedTuple, Optional

from edge_agent.clock import Clock
from edge_agent.errors import RecorderError
from edge_agent.frame import Pixels
from edge_agent.inspection import Inspection, iso
from edge_agent.recorder.books import RecorderBooks
from edge_agent.recorder.choice import Wanted
from edge_agent.recorder.journal import ReviewJournal
from edge_agent.recorder.manifest import Listed, entry_of
from edge_agent.recorder.names import Kept
from edge_agent.recorder.retention import Retention
from edge_agent.recorder.review import Verdict
from edge_agent.recorder.settings import RecorderSettings
from edge_agent.recorder.store import Store
from edge_agent.recorder.upload.queue import UploadQueue

_log = logging.getLogger(__name__)


class Item(NamedTuple):
    """An image to write; the pixels are a copy of its own. `mask` is RGB888 of the same size."""

    pixels: Pixels
    mask: Optional[Pixels]
    inspection: Inspection
    wanted: Wanted


class Keeper:
    """Used by one thread at a time; its attributes are read by any.

    Every method raises RecorderError where the disk does not let it; worth another try later.

    Args:
        settings: of the recorder.
        books: of a lane.
        clock: time.
        uploads: where images wait for their upload; None: there is none.

    Attributes:
        bytes: of all that is kept.
        free_bytes: of the disk, when it was looked at last; None before.
    """

    def __init__(
        self,
        settings: RecorderSettings,
        books: Callable[[str], RecorderBooks],
        clock: Clock,
        uploads: Optional[UploadQueue] = None,
    ) -> None:
        self._books = books
        self._clock = clock
        self._store = Store(settings, uploads)
        self._retention = Retention(settings, uploads.waits if uploads else None)
        self.directory = self._store.root
        self.is_open = False
        self.bytes = 0
        self.free_bytes: Optional[int] = None

    def open(self) -> None:
        """Look at what is there."""
        found = self._store.open()
        for kept in found:
            self._retention.add(kept)
        self.bytes = self._retention.bytes
        self.is_open = True
        for lane, count in self._retention.by_lane().items():
            self._books(lane).find(count)
        _log.info("recorder: %d images, %d bytes in %s", len(found), self.bytes, self.directory)
        self.tidy()

    def tidy(self) -> None:
        """Take away what is too old or, by other settings than before, too much; normal ones where others fill the disk."""
        self._remove(self._retention.over_age(self._clock.wall_ns()), "age")
        self._remove(self._retention.for_bytes(0, is_anomalous=True) or [], "bytes")
        self._remove(self._retention.for_free(self._look_at_disk(), is_anomalous=False) or [], "disk")

    def write(self, item: Item) -> str:
        """Write an image, and count it where that is done; else gives why retention does not let it be kept."""
        draft = self._store.draft(item.pixels, item.mask, item.inspection)
        try:
            label = item.wanted.label
            is_anomalous = item.inspection.is_anomalous if label is None else label == "anomaly"
            victims = self._retention.for_bytes(draft.bytes, is_anomalous=is_anomalous)
            if victims is None:
                return "no_room"
            self._remove(victims, "bytes")
            victims = self._retention.for_free(self._look_at_disk(), is_anomalous=is_anomalous)
            if victims is None:
                return "disk_full"
            self._remove(victims, "disk")
            kept = self._store.commit(draft, item.inspection, item.wanted)
        finally:
            self._store.discard(draft)
        self._retention.add(kept)
        self.bytes = self._retention.bytes
        self._books(kept.lane).record()
        return ""

    def review(self, image: Listed, verdict: Optional[Verdict], note: str) -> bytes:
        """Write a review, or take it back for None, and count it; gives the image's line as it is now.

        An image that a person calls an anomaly is kept as one from now on.
        """
        if not self.is_open:
            raise RecorderError(str(self.directory), "is not open yet", "Try again in a moment.")
        line = self._store.review(image, verdict, note, iso(self._clock.wall_ns())[:-1])
        entry = entry_of(line)
        if entry is not None:
            self._retention.relabel(image.reference, is_anomalous=entry.is_anomalous)
        self._books(image.lane).review(verdict or "undone")
        return line

    def journals(self) -> List[ReviewJournal]:
        """Reviews that are not in the manifests yet."""
        return self._store.journals()

    def fold(self) -> None:
        """Bring all reviews into the manifests."""
        self._store.fold()

    def close(self) -> None:
        """Let go of the directory."""
        self._store.close()

    def leave(self) -> None:
        """After `close`: what is kept is nobody's any more."""
        for lane, count in self._retention.by_lane().items():
            self._books(lane).remove("left", count)

    def _remove(self, victims: List[Kept], cause: str) -> None:
        def removed(kept: Kept) -> None:
            self._retention.forget(kept)
            self.bytes = self._retention.bytes
            self._books(kept.lane).remove(cause)

        if victims:
            self._store.remove(victims, removed)

    def _look_at_disk(self) -> int:
        self.free_bytes = self._store.free_bytes()
        return self.free_bytes
