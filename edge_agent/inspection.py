"""Inspection: what was decided about one frame, and its published JSON form.

The form is versioned; docs/inspection.schema.json is its JSON Schema and docs/inspection.md explains it.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, replace
from typing import Any, Dict, Optional, Tuple

SCHEMA_VERSION = 1

#: Largest published message in bytes: it passes nucleus lite, whose limit was measured at 7,245 to 7,311.
MAX_MESSAGE_BYTES = 7000

_MIN_SOURCE_CHARS = 64


@dataclass(frozen=True)
class Anomaly:
    """One class found in the mask.

    Attributes:
        name: the class's label; `background` is the part of the mask that is no anomaly.
        area: fraction of the mask, 0..1.
        hex_color: "#RRGGBB", the colour of the class in the mask.
    """

    name: str
    area: float
    hex_color: str


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
        run: a UUID of the agent's run: sequence numbers start anew with each run.
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

    def to_json(self, max_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
        """The published message, UTF-8, at most `max_bytes`.

        What does not fit is left out where it hurts least and said so: first the head of a long `source` (an
        ellipsis stands for it), then the classes with the smallest areas (`anomalies_omitted` counts them).
        """
        document = _document(self)
        text = _encode(document)
        if len(text) <= max_bytes:
            return text
        spare = max(_MIN_SOURCE_CHARS, len(self.source) - (len(text) - max_bytes) - 1)
        document["image"]["source"] = _shorten(self.source, spare)
        text = _encode(document)
        kept = sorted(self.anomalies, key=lambda anomaly: anomaly.area)
        while len(text) > max_bytes and kept:
            # Halving would drop more than needed; a hundred classes are few enough to drop one by one.
            kept.pop(0)
            trimmed = replace(self, anomalies=tuple(a for a in self.anomalies if a in kept))
            document["anomalies"] = _document(trimmed)["anomalies"]
            document["anomalies_omitted"] = len(self.anomalies) - len(trimmed.anomalies)
            text = _encode(document)
        if len(text) > max_bytes:
            document["image"]["source"] = _shorten(self.source, _MIN_SOURCE_CHARS // 4)
            text = _encode(document)
        return text


def _document(inspection: Inspection) -> Dict[str, Any]:
    document: Dict[str, Any] = {
        "version": SCHEMA_VERSION,
        "id": inspection.id,
        "run": inspection.run,
        "thing": inspection.thing,
        "camera": inspection.camera,
        "sequence": inspection.sequence,
        "captured_at": _iso(inspection.captured_at_ns),
        "model": {"component": inspection.model_component, "version": inspection.model_version},
        "is_anomalous": inspection.is_anomalous,
        "confidence": round(inspection.confidence, 6),
        "anomalies": [
            {"name": a.name, "area": round(a.area, 6), "hex_color": a.hex_color} for a in inspection.anomalies
        ],
        "timings_ms": {
            "decode": round(inspection.timings.decode, 3),
            "wait": round(inspection.timings.wait, 3),
            "detect": round(inspection.timings.detect, 3),
            "total": round(inspection.timings.total, 3),
        },
        "image": {
            "width": inspection.image_width,
            "height": inspection.image_height,
            "source": inspection.source,
        },
    }
    if inspection.trigger_id is not None:
        document["trigger_id"] = inspection.trigger_id
    return document


def _encode(document: Dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _shorten(source: str, characters: int) -> str:
    return source if len(source) <= characters else "\u2026" + source[-characters:]


def _iso(wall_ns: int) -> str:
    seconds, nanoseconds = divmod(wall_ns, 1_000_000_000)
    moment = dt.datetime.fromtimestamp(seconds, tz=dt.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds // 1000:06d}Z"
