"""What a person wants to see of the recorded images, and what a line of a manifest says to that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Literal, Mapping, NamedTuple, Optional, Tuple

from edge_agent.inspection import BACKGROUND
from edge_agent.recorder.manifest import LABEL, MASK, METADATA
from edge_agent.recorder.names import NAME, beside, reference_named, wall_ns
from edge_agent.recorder.review import Review, review_in
from edge_agent.recorder.sidecar import read_sidecar

_SECOND_NS = 1_000_000_000


class Recorded(NamedTuple):
    """One recorded image, as its line has it.

    Attributes:
        reference: relative to the recorder's directory.
        at_ns: wall clock of capture, nanoseconds since 1970-01-01 UTC.
        said_anomalous, said_confidence, said_classes: what the model said; classes are known of images with a mask, and
            of reviewed ones.
        reason: why it was recorded.
        label: `anomaly` or `normal`, what training takes it for.
        by_person: whether a person gave the label.
        review: of a person; None: not yet.
        has_mask: whether training sees a mask.
    """

    reference: str
    at_ns: int
    said_anomalous: bool
    said_confidence: float
    said_classes: Tuple[str, ...]
    reason: str
    label: str
    by_person: bool
    review: Optional[Review]
    has_mask: bool

    @property
    def name(self) -> str:
        """Of the file, without its ending."""
        return self.reference.rpartition("/")[2].rpartition(".")[0]


class Query(NamedTuple):
    """Which images; those that meet all of it.

    Attributes:
        verdict: of the model; None: both.
        found_class: that the model found; empty: whichever.
        reviewed: or not; None: both.
        below: confidence of the verdict, 0..1; None: all.
        reason: why it was recorded; empty: whichever.
        since_s, until_s: wall clock of capture, seconds since 1970-01-01 UTC.
        before: the name of an image: only older ones are given; empty: from the newest on.
        most: that are given.
    """

    verdict: Optional[Literal["anomalous", "normal"]] = None
    found_class: str = ""
    reviewed: Optional[bool] = None
    below: Optional[float] = None
    reason: str = ""
    since_s: Optional[float] = None
    until_s: Optional[float] = None
    before: str = ""
    most: int = 24

    def is_met_by(self, image: Recorded) -> bool:
        """Whether the image is one of those; `before` and `most` are not asked."""
        return (
            (self.verdict is None or image.said_anomalous == (self.verdict == "anomalous"))
            and (not self.found_class or self.found_class in image.said_classes)
            and (self.reviewed is None or self.reviewed == (image.review is not None))
            and (self.below is None or image.said_confidence < self.below)
            and (not self.reason or self.reason == image.reason)
            and (self.since_s is None or image.at_ns >= self.since_s * _SECOND_NS)
            and (self.until_s is None or image.at_ns < self.until_s * _SECOND_NS)
        )


def recorded_in(line: bytes, root: Path, lane: str) -> Optional[Recorded]:
    """What a line of the lane's manifest says; None where it is a person's own, or not of our form."""
    try:
        document = json.loads(line)
        reference = document["source-ref"]
        match = NAME.fullmatch(reference.rpartition("/")[2])
        if match is None or match.group("lane") != lane or match.group("kind") not in ("jpg", "png"):
            return None
        if reference != reference_named(match.string[: match.start("kind") - 1], f".{match.group('kind')}"):
            return None
        metadata = document[METADATA]
        label = "anomaly" if document[LABEL] == 1 else "normal"
        by_person = metadata["human-annotated"] == "yes"
        review = review_in(document)
        said = _said(document, review, root / beside(reference, ".json"))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    at_ns = wall_ns(match.group("time"))
    reason = str(document.get("recorded-for", ""))
    return Recorded(reference, at_ns, *said, reason, label, by_person, review, MASK in document)


_Said = Tuple[bool, float, Tuple[str, ...]]


def _said(document: Mapping[str, Any], review: Optional[Review], sidecar: Path) -> _Said:
    """The model's verdict, its confidence, and the classes that it found."""
    if review is not None:
        return review.said_anomalous, review.said_confidence, tuple(review.said_classes)
    metadata: Dict[str, Any] = document[METADATA]
    if metadata["human-annotated"] != "yes":
        classes = document.get(f"{MASK}-metadata", {}).get("internal-color-map", {}).values()
        names = tuple(str(found["class-name"]) for found in classes if found["class-name"] != BACKGROUND)
        return metadata["class-name"] == "anomaly", float(metadata["confidence"]), names
    # A person said what it is when it was recorded: the model's word is beside the image.
    try:
        inspection = read_sidecar(sidecar)
    except OSError as error:
        raise ValueError("has no sidecar") from error
    names = tuple(str(found["name"]) for found in inspection["anomalies"] if found["name"] != BACKGROUND)
    return bool(inspection["is_anomalous"]), float(inspection["confidence"]), names
