"""Recorded images as people look for them. Everything is read from the directory; nothing here changes it."""

from __future__ import annotations

import heapq
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from edge_agent.errors import ImageGoneError, RecorderError
from edge_agent.recorder.journal import pending_in
from edge_agent.recorder.manifest import Listed, manifest_of, reference_in
from edge_agent.recorder.names import beside, reference_named
from edge_agent.recorder.query import Query, Recorded, recorded_in
from edge_agent.recorder.sidecar import read_sidecar

_LANE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_STEM = re.compile(r"\d{8}T\d{6}\.\d{6}Z_[A-Za-z0-9_.-]{1,64}_\d{1,18}", re.ASCII)
_SUFFIXES = (".jpg", ".png")

# A large manifest takes a second to look through. The lanes need the interpreter meanwhile: it is given back after so
# many lines for so long.
_LINES = 100
_BREATH_S = 0.0005

# Classes and reasons that are named; a person's edits could have any number.
_CHOICES = 64


class Found(NamedTuple):
    """What a query gives.

    Attributes:
        recorded: images of the lane.
        matching: that meet the query.
        right, wrong: of these, as people said of the verdict.
        classes, reasons: that images of the lane have, with their numbers.
        images: the newest that meet it, the newest first.
    """

    recorded: int
    matching: int
    right: int
    wrong: int
    classes: Dict[str, int]
    reasons: Dict[str, int]
    images: List[Recorded]


class Files(NamedTuple):
    """Of one image; there is no mask where nothing was found. The inspection is in its published form."""

    image: Path
    mask: Optional[Path]
    inspection: Dict[str, Any]


class Gallery:
    """Of one recorder's directory. Safe to use from any thread, while the recorder works.

    Every method raises RecorderError where the disk does not let it.

    Args:
        root: the directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def lanes(self) -> List[str]:
        """That have a manifest."""
        names = (path.name[: -len(".manifest")] for path in self._root.glob("*.manifest"))
        return sorted(name for name in names if _LANE.fullmatch(name))

    def find(self, lane: str, query: Query) -> Found:
        """Look through the lane's manifest; ImageGoneError where there is none."""
        self._check_lane(lane)
        recorded = matching = 0
        verdicts: Counter[str] = Counter()
        classes: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        newest: List[Tuple[str, Recorded]] = []
        for image in self._images(lane):
            recorded += 1
            classes.update(image.said_classes)
            reasons[image.reason] += 1
            if not query.is_met_by(image):
                continue
            matching += 1
            if image.review is not None:
                verdicts[image.review.verdict] += 1
            # Names begin with the time.
            if not query.before or image.name < query.before:
                if len(newest) < query.most:
                    heapq.heappush(newest, (image.name, image))
                elif image.name > newest[0][0]:
                    heapq.heapreplace(newest, (image.name, image))
        images = [image for _, image in sorted(newest, reverse=True)]
        return Found(
            recorded,
            matching,
            verdicts["right"],
            verdicts["wrong"],
            dict(classes.most_common(_CHOICES)),
            dict(reasons.most_common(_CHOICES)),
            images,
        )

    def one(self, lane: str, line: bytes) -> Recorded:
        """What a line of the lane says."""
        image = recorded_in(line, self._root, lane)
        if image is None:
            raise ImageGoneError(f"lane {lane}", "has a line of another form for this image")
        return image

    def listed(self, lane: str, name: str) -> Listed:
        """The image whose file has this name, without its ending; ImageGoneError where the manifest does not list it."""
        self._check_lane(lane)
        if _STEM.fullmatch(name) and name[len("20261121T140530.123456Z_") :].rpartition("_")[0] == lane:
            manifest = manifest_of(self._root, lane)
            for suffix in _SUFFIXES:
                reference = reference_named(name, suffix)
                try:
                    place = manifest.find(reference)
                    if place is not None:
                        return Listed(lane, reference, place)
                except OSError as error:
                    raise self._failed(error) from error
        raise ImageGoneError(f"lane {lane}: {name[:100]}", "is not recorded, or not any more")

    def files(self, lane: str, name: str) -> Files:
        """Of a listed image; ImageGoneError where it is not there."""
        image = self._root / self.listed(lane, name).reference
        mask = image.with_suffix(".mask")
        try:
            return Files(image, mask if mask.exists() else None, read_sidecar(image.with_suffix(".json")))
        except (FileNotFoundError, ValueError) as error:
            raise ImageGoneError(f"lane {lane}: {name}", f"has no inspection beside it ({error})") from error
        except OSError as error:
            raise self._failed(error) from error

    def inspection(self, image: Recorded) -> Dict[str, Any]:
        """Of the image, in its published form; empty where it cannot be read."""
        try:
            return read_sidecar(self._root / beside(image.reference, ".json"))
        except (OSError, ValueError):
            return {}

    def _images(self, lane: str) -> Iterator[Recorded]:
        try:
            # The journal first: what goes from it meanwhile is in the manifest.
            pending = pending_in(self._root, lane)
            for number, line in enumerate(manifest_of(self._root, lane).lines()):
                reference = reference_in(line) if pending else None
                image = recorded_in(pending.get(reference or "", line), self._root, lane)
                if image is not None:
                    yield image
                if number % _LINES == _LINES - 1:
                    time.sleep(_BREATH_S)
        except OSError as error:
            raise self._failed(error) from error

    def _check_lane(self, lane: str) -> None:
        if not _LANE.fullmatch(lane) or not manifest_of(self._root, lane).path.exists():
            raise ImageGoneError(f"lane {lane[:64]}", "has no recorded images")

    def _failed(self, error: OSError) -> RecorderError:
        return RecorderError(str(self._root), f"cannot be read ({error.strerror or error})")
