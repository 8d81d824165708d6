"""What an output that sends messages says of a part, as JSON."""

from __future__ import annotations

import json
from typing import Any, Dict

from edge_agent.inspection import SCHEMA_VERSION, iso
from edge_agent.outputs.base import Action


def to_json(action: Action, thing: str) -> bytes:
    """ASCII JSON: the inspection in its published form, or, of a part without a verdict, docs/undecided.schema.json."""
    if action.inspection is not None:
        return action.inspection.to_json()
    part = action.part
    document: Dict[str, Any] = {
        "version": SCHEMA_VERSION,
        "thing": thing,
        "camera": part.lane,
        "captured_at": iso(part.captured_at_ns),
        "undecided": action.cause,
        "detail": action.detail,
    }
    if part.sequence is not None:
        document["sequence"] = part.sequence
    if part.trigger_id is not None:
        document["trigger_id"] = part.trigger_id
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")
