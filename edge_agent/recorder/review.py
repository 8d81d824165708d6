"""What a person says of a recorded image, in its line of the manifest; and the line as it was before."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Literal, Mapping, NamedTuple, Optional, Union

from edge_agent.errors import ReviewError
from edge_agent.inspection import BACKGROUND
from edge_agent.recorder.manifest import LABEL, METADATA, encode_line

#: Whether the model's verdict is right.
Verdict = Literal["right", "wrong"]

#: Characters of a note at most.
MAX_NOTE = 500

_REVIEW = "review"
_JOB = "edge-agent/review"
_MASK_TYPE = "groundtruth/semantic-segmentation"
_SUFFIX = "-metadata"


class Review(NamedTuple):
    """What a person said, and what the model had said before."""

    verdict: Verdict
    note: str
    said_anomalous: bool
    said_confidence: float
    said_classes: List[str]


def reviewed_line(
    line: bytes, reference: str, inspection: Mapping[str, Any], verdict: Verdict, note: str, at: str
) -> bytes:
    """The line with a person's label in place of the model's.

    An image that shows nothing wrong loses the reference of its mask: a mask that is wrong must not be trained on.

    Args:
        line: as it is; of an image that was reviewed before, that review is replaced.
        reference: the image's.
        inspection: of the image, in its published form: what the model said.
        verdict: whether that is right.
        note: of the person.
        at: now, UTC, as the manifest has times.

    Raises:
        ReviewError: the line has no label of the recorder's, a person made it another one.
    """
    before = _before(_decoded(line, reference)) or line.decode("utf-8").rstrip("\n")
    document = _decoded(before, reference)
    metadata = document.get(METADATA)
    if not isinstance(metadata, dict):
        raise ReviewError(reference, f"has no {METADATA} in its manifest", "Label it there by hand.")
    is_anomalous = bool(inspection["is_anomalous"]) == (verdict == "right")
    document[LABEL] = int(is_anomalous)
    document[METADATA] = {
        **metadata,
        "class-name": "anomaly" if is_anomalous else "normal",
        "confidence": 1.0,
        "human-annotated": "yes",
        "creation-date": at,
        "job-name": _JOB,
    }
    if not is_anomalous:
        _take_masks(document)
    document[_REVIEW] = {
        "verdict": verdict,
        "note": note,
        "said": {
            "class-name": "anomaly" if inspection["is_anomalous"] else "normal",
            "confidence": inspection["confidence"],
            "classes": [found["name"] for found in inspection["anomalies"] if found["name"] != BACKGROUND],
            "job-name": f"edge-agent/{inspection['model']['component']}",
        },
        "line": before,
    }
    return encode_line(document)


def line_before(line: bytes, reference: str) -> bytes:
    """The line, byte for byte, as it was before the image was reviewed; ReviewError where it was not."""
    before = _before(_decoded(line, reference))
    if before is None:
        raise ReviewError(reference, "has no review that could be taken back")
    return before.encode() + b"\n"


def review_in(document: Mapping[str, Any]) -> Optional[Review]:
    """What a line of the manifest, decoded, says of a review; None where it has none of ours."""
    review = document.get(_REVIEW)
    if not isinstance(review, dict) or review.get("verdict") not in ("right", "wrong"):
        return None
    try:
        said = review["said"]
        return Review(
            review["verdict"],
            str(review["note"]),
            said["class-name"] == "anomaly",
            float(said["confidence"]),
            [str(name) for name in said["classes"]],
        )
    except (KeyError, TypeError, ValueError):
        return None


def _before(document: Mapping[str, Any]) -> Optional[str]:
    if review_in(document) is None:
        return None
    line = document[_REVIEW].get("line")
    return line if isinstance(line, str) else None


def _decoded(line: Union[str, bytes], reference: str) -> Dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ReviewError(reference, f"has a line in its manifest that is no JSON ({error})") from error
    if not isinstance(document, dict):
        raise ReviewError(reference, "has a line in its manifest that is no JSON object")
    return document


def _take_masks(document: Dict[str, Any]) -> None:
    for key in [key for key in document if key.endswith(_SUFFIX)]:
        if isinstance(document[key], dict) and document[key].get("type") == _MASK_TYPE:
            del document[key]
            document.pop(key[: -len(_SUFFIX)], None)
