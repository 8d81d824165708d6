"""Inspection: what was decided about one frame, and its published JSON form.

The form is versioned; docs/inspection.schema.json is its JSON Schema and docs/inspection.md explains it.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

SCHEMA_VERSION = 1

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - both sides of the only difference are UTC without saying so
_CAPTURED_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)

#: Largest published message in bytes: it passes nucleus lite, whose limit was measured at 7,245 to 7,311.
MAX_MESSAGE_BYTES = 7000

_BATCH_HEAD, _BATCH_TAIL = b'{"version":%d,"inspections":[' % SCHEMA_VERSION, b"]}"
#: Bytes of a message of several inspections beside them and the commas between them.
BATCH_BYTES = len(_BATCH_HEAD) + len(_BATCH_TAIL)

#: The class that is no anomaly: the rest of the mask (contract section 5).
BACKGROUND = "background"

#: A longer source keeps its end, after an ellipsis.
MAX_SOURCE_CHARACTERS = 200


@dataclass(frozen=True)
class Anomaly:
    """One class found in the mask.

    Attributes:
        name: the class's label; BACKGROUND is the part of the mask that is no anomaly.
        area: fraction of the mask, 0..1.
        hex_color: "#RRGGBB", the colour of the class in the mask.
    """

    name: str
    area: float
    hex_color: str

    def as_dict(self) -> Dict[str, Any]:
        """Its form in JSON."""
        return {"name": self.name, "area": round(self.area, 6), "hex_color": self.hex_color}


def findings(anomalies: Iterable[Anomaly]) -> List[Anomaly]:
    """Those that are no background, in their order."""
    return [anomaly for anomaly in anomalies if anomaly.name != BACKGROUND]


def score_of(confidence: float, *, is_anomalous: bool) -> float:
    """How anomalous a part is, 0..1: the confidence of an anomalous verdict, 1 - confidence of a normal one."""
    return confidence if is_anomalous else 1.0 - confidence


@dataclass(frozen=True)
class Timings:
    """Milliseconds by stage, on the monotonic clock. `total` runs from capture to verdict."""

    decode: float
    wait: float
    detect: float
    total: float


@dataclass(frozen=True)
class Inspection:
    """The verdict on one frame. Immutable; (camera, sequence) names it, so that consumers recognise duplicates.

    Attributes:
        id: a UUID, 32 hexadecimal digits.
        run: a UUID of the agent's run.
        thing: the Greengrass thing name, or the host's name outside Greengrass.
        camera, sequence: of the frame.
        captured_at_ns: wall clock of capture, nanoseconds since 1970-01-01 UTC.
        model_component, model_version: what decided; the version is None where the server does not tell.
        is_anomalous: the image-level verdict.
        confidence: how sure the verdict is, 0..1; not a score.
        anomalies: classes present in the mask, as the server listed them.
        timings: by stage.
        image_width, image_height: of the frame, pixels.
        source: where the image came from.
        trigger_id: the trigger that asked for the frame, if one did.
    """

    id: str
    run: str
    thing: str
    camera: str
    sequence: int
    captured_at_ns: int
    model_component: str
    model_version: Optional[str]
    is_anomalous: bool
    confidence: float
    anomalies: Tuple[Anomaly, ...]
    timings: Timings
    image_width: int
    image_height: int
    source: str
    trigger_id: Optional[str] = None

    def as_dict(self) -> Dict[str, Any]:
        """The published form, however large."""
        return _document(self)

    def to_json(self, max_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
        """The published message, ASCII JSON, at most `max_bytes`.

        Classes that do not fit are left out, smallest areas first, and `anomalies_omitted` counts them.
        """
        document = _document(self)
        text = _encode(document)
        by_area = sorted(range(len(self.anomalies)), key=lambda index: self.anomalies[index].area)
        omitted: Set[int] = set()
        while len(text) > max_bytes and len(omitted) < len(by_area):
            omitted.add(by_area[len(omitted)])
            document["anomalies"] = [a.as_dict() for i, a in enumerate(self.anomalies) if i not in omitted]
            document["anomalies_omitted"] = len(omitted)
            text = _encode(document)
        return text


def to_message(bodies: Sequence[bytes]) -> bytes:
    """The published message of one or more inspections in JSON: one alone is itself, several are a batch."""
    return bodies[0] if len(bodies) == 1 else _BATCH_HEAD + b",".join(bodies) + _BATCH_TAIL


def inspections_in(message: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The inspections of one published message, decoded: of a batch, or the message itself; none of another message."""
    if "inspections" in message:
        return list(message["inspections"])
    return [dict(message)] if "is_anomalous" in message else []


def _document(inspection: Inspection) -> Dict[str, Any]:
    document: Dict[str, Any] = {
        "version": SCHEMA_VERSION,
        "id": inspection.id,
        "run": inspection.run,
        "thing": inspection.thing,
        "camera": inspection.camera,
        "sequence": inspection.sequence,
        "captured_at": iso(inspection.captured_at_ns),
        "model": {"component": inspection.model_component, "version": inspection.model_version},
        "is_anomalous": inspection.is_anomalous,
        "confidence": round(inspection.confidence, 6),
        "anomalies": [anomaly.as_dict() for anomaly in inspection.anomalies],
        "timings_ms": {
            "decode": round(inspection.timings.decode, 3),
            "wait": round(inspection.timings.wait, 3),
            "detect": round(inspection.timings.detect, 3),
            "total": round(inspection.timings.total, 3),
        },
        "image": {
            "width": inspection.image_width,
            "height": inspection.image_height,
            "source": _shorten(inspection.source, MAX_SOURCE_CHARACTERS),
        },
    }
    if inspection.trigger_id is not None:
        document["trigger_id"] = inspection.trigger_id
    return document


def _encode(document: Dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _shorten(source: str, characters: int) -> str:
    return source if len(source) <= characters else "\u2026" + source[1 - characters :]


def wall_ns_of(captured_at: str) -> int:
    """Nanoseconds since 1970-01-01 UTC of a message's `captured_at`.

    Raises:
        ValueError: it has another form.
    """
    if not _CAPTURED_AT.fullmatch(captured_at):
        raise ValueError(f"{captured_at!r} is no time as inspections have it")
    # fromisoformat of Python 3.8 knows no Z. It is ten times faster than strptime.
    moment = dt.datetime.fromisoformat(captured_at[:-1])
    return (moment - _EPOCH) // dt.timedelta(microseconds=1) * 1000


def iso(wall_ns: int) -> str:
    """A time as messages have it: UTC, microseconds, Z. Nanoseconds since 1970-01-01 UTC."""
    seconds, nanoseconds = divmod(wall_ns, 1_000_000_000)
    moment = dt.datetime.fromtimestamp(seconds, tz=dt.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds // 1000:06d}Z"
