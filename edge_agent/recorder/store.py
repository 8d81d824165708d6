"""The recorder's directory: images with their sidecars and masks (`names`), a manifest for each lane.

An image is written under a name with a dot, then mask and sidecar, then it gets its name, then its line: a kill at any
moment leaves what the next opening puts right (`found`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, TypeVar

from PIL import Image

from edge_agent.errors import ImageGoneError, RecorderError, RecorderFullError
from edge_agent.frame import Pixels
from edge_agent.indexed import indexed
from edge_agent.inspection import Inspection
from edge_agent.recorder.choice import Wanted
from edge_agent.recorder.found import look_through
from edge_agent.recorder.journal import ReviewJournal
from edge_agent.recorder.manifest import Listed, manifest_line, manifest_of
from edge_agent.recorder.names import DRAFT_MASK, DRAFT_SIDECAR, Kept, beside, reference_of
from edge_agent.recorder.review import Verdict, line_before, reviewed_line
from edge_agent.recorder.settings import RecorderSettings
from edge_agent.recorder.sidecar import read_sidecar
from edge_agent.recorder.upload.queue import UploadQueue

T = TypeVar("T")

_SUFFIX = {"jpeg": ".jpg", "png": ".png"}


class Draft(NamedTuple):
    """An image, with its mask where it has one, that is on disk and nowhere listed yet."""

    path: Path
    mask: Optional[Path]
    reference: str
    document: Dict[str, Any]
    sidecar: bytes
    bytes: int


class Store:
    """Used by one thread at a time.

    Every method raises RecorderFullError where the disk has no room, and RecorderError where it cannot be used.

    Args:
        settings: of the recorder.
        uploads: where images wait for their upload; None: there is none.
    """

    def __init__(self, settings: RecorderSettings, uploads: Optional[UploadQueue] = None) -> None:
        self._settings = settings
        self._uploads = uploads
        self._root = Path(settings.path).absolute()
        self._lock: Optional[int] = None
        self._journals: Dict[str, ReviewJournal] = {}

    @property
    def root(self) -> Path:
        return self._root

    def open(self) -> List[Kept]:
        """Take the directory over and put right what a kill left; gives what is there, the oldest first."""
        return self._guarded(self._open)

    def draft(self, pixels: Pixels, mask: Optional[Pixels], inspection: Inspection) -> Draft:
        """Write an image and its mask, RGB888 (height, width, 3), that `commit` or `discard` settles."""
        return self._guarded(lambda: self._draft(pixels, mask, inspection))

    def commit(self, draft: Draft, inspection: Inspection, wanted: Wanted) -> Kept:
        """Give a draft its name, its sidecar and its line."""
        return self._guarded(lambda: self._commit(draft, inspection, wanted))

    def discard(self, draft: Draft) -> None:
        _unlink(draft.path, *([draft.mask] if draft.mask else []))

    def remove(self, victims: List[Kept], removed: Callable[[Kept], None]) -> None:
        """Take images away, first from their manifests; `removed` is called with each that is gone."""
        self._guarded(lambda: self._remove(victims, removed))

    def review(self, image: Listed, verdict: Optional[Verdict], note: str, at: str) -> bytes:
        """Write a review of an image, or take it back for None; gives the image's line as it is now.

        Raises:
            ReviewError: it cannot be reviewed; ImageGoneError where it is not there.
        """
        return self._guarded(lambda: self._review(image, verdict, note, at))

    def journals(self) -> List[ReviewJournal]:
        """Of lanes with reviews, or whose images went."""
        return list(self._journals.values())

    def fold(self) -> None:
        """Bring all reviews into the manifests."""

        def fold() -> None:
            for journal in self.journals():
                journal.fold()

        self._guarded(fold)

    def free_bytes(self) -> int:
        """Of the disk, for us."""

        def look() -> int:
            status = os.statvfs(self._root)
            return status.f_bavail * status.f_frsize

        return self._guarded(look)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = RecorderFullError if full else RecorderError
            raise kind(str(self._root), f"cannot be used ({error.strerror or error})") from error

    def _open(self) -> List[Kept]:
        self._root.mkdir(mode=0o750, parents=True, exist_ok=True)
        if self._lock is None:  # else an opening before this one took it, and failed after that
            self._take_lock()
        found = look_through(self._root)
        if self._uploads:
            self._uploads.open()
        return found

    def _take_lock(self) -> None:
        descriptor = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise RecorderError(str(self._root), "is another recorder's", "Give each inspector its own.") from error
        self._lock = descriptor

    def _draft(self, pixels: Pixels, mask: Optional[Pixels], inspection: Inspection) -> Draft:
        suffix = _SUFFIX[self._settings.format]
        reference = reference_of(inspection, suffix)
        directory = (self._root / reference).parent
        path = directory / f".draft{suffix}"
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        mask_path = None if mask is None else directory / DRAFT_MASK
        options = {"quality": self._settings.quality} if self._settings.format == "jpeg" else {"compress_level": 1}
        try:
            size = _save(path, Image.fromarray(pixels), self._settings.format, **options)
            if mask is not None and mask_path is not None:
                size += _save(mask_path, _picture(mask, inspection), "png", compress_level=1)
        except OSError:
            _unlink(path, *([mask_path] if mask_path else []))
            raise
        document = inspection.as_dict()
        sidecar = json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
        return Draft(path, mask_path, reference, document, sidecar, size + len(sidecar))

    def _commit(self, draft: Draft, inspection: Inspection, wanted: Wanted) -> Kept:
        mask_reference = beside(draft.reference, ".mask") if draft.mask else ""
        line = manifest_line(draft.reference, draft.document, wanted, mask_reference)
        image = self._root / draft.reference
        sidecar, draft_sidecar = image.with_suffix(".json"), draft.path.with_name(DRAFT_SIDECAR)
        uploads = self._uploads if self._uploads and self._uploads.wants(inspection, wanted) else None
        try:
            if uploads:
                uploads.draft(line)
            if draft.mask:
                draft.mask.rename(image.with_suffix(".mask"))
            draft_sidecar.write_bytes(draft.sidecar)
            draft_sidecar.rename(sidecar)
            draft.path.rename(image)
            if uploads:
                uploads.commit(draft.reference, inspection.camera)
            manifest_of(self._root, inspection.camera).append(line)
        except OSError:
            if uploads:
                uploads.discard()
                uploads.removed(draft.reference, inspection.camera)
            _unlink(draft_sidecar, draft.path, image, sidecar, image.with_suffix(".mask"))
            raise
        is_anomalous = inspection.is_anomalous if wanted.label is None else wanted.label == "anomaly"
        return Kept(inspection.captured_at_ns, inspection.camera, draft.reference, draft.bytes, is_anomalous)

    def _remove(self, victims: List[Kept], removed: Callable[[Kept], None]) -> None:
        for lane in {victim.lane for victim in victims}:
            self._journal(lane).drop({victim.reference for victim in victims if victim.lane == lane})
        for victim in victims:
            image = self._root / victim.reference
            for path in (image, image.with_suffix(".json"), image.with_suffix(".mask")):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
            if self._uploads:
                self._uploads.removed(victim.reference, victim.lane)
            removed(victim)
        for hour in {(self._root / victim.reference).parent for victim in victims}:
            with contextlib.suppress(OSError):  # others are in it
                hour.rmdir()
                hour.parent.rmdir()

    def _review(self, image: Listed, verdict: Optional[Verdict], note: str, at: str) -> bytes:
        journal, reference, path = self._journal(image.lane), image.reference, self._root / image.reference
        line = journal.line(reference, image.place)
        if line is None or not path.exists():
            raise ImageGoneError(reference, "is not recorded, or not any more")
        if verdict is None:
            line = line_before(line, reference)
        else:
            try:
                inspection = read_sidecar(path.with_suffix(".json"))
            except (FileNotFoundError, ValueError) as error:
                raise ImageGoneError(reference, f"has no inspection beside it ({error})") from error
            line = reviewed_line(line, reference, inspection, verdict, note, at)
        journal.write(reference, line)
        if self._uploads:
            self._uploads.again(reference, image.lane, line)
        return line

    def _journal(self, lane: str) -> ReviewJournal:
        if lane not in self._journals:
            self._journals[lane] = ReviewJournal(self._root, lane)
        return self._journals[lane]


def _picture(mask: Pixels, inspection: Inspection) -> Image.Image:
    return indexed(mask, [anomaly.hex_color for anomaly in inspection.anomalies]) or Image.fromarray(mask)


def _save(path: Path, image: Image.Image, kind: str, **options: int) -> int:
    """Write an image; its bytes. Into a file: Pillow then works without the interpreter's lock, which the lanes need."""
    with path.open("wb") as file:
        image.save(file, kind, **options)
    return path.stat().st_size


def _unlink(*paths: Path) -> None:
    """What is there and can be."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
