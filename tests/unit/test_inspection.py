from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Dict

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.inspection import MAX_MESSAGE_BYTES, Anomaly, Inspection, Timings, wall_ns_of

INSPECTION = Inspection(
    id="0" * 32,
    run="1" * 32,
    thing="press-7",
    camera="line-1",
    sequence=42,
    captured_at_ns=1_767_225_599_123_456_789,
    model_component="com.example.Model",
    model_version="1.2.3",
    is_anomalous=True,
    confidence=0.93000001,
    anomalies=(Anomaly("background", 0.97, "#FFFFFF"), Anomaly("crack", 0.03, "#23A436")),
    timings=Timings(decode=4.2, wait=0.1, detect=12.5, total=16.8),
    image_width=640,
    image_height=480,
    source="part-42.png",
)


def test_the_message_says_what_was_decided(inspection_schema: Dict[str, Any]) -> None:
    message = json.loads(INSPECTION.to_json())
    jsonschema.validate(message, inspection_schema)
    assert message["captured_at"] == "2025-12-31T23:59:59.123456Z"
    assert message["anomalies"][1] == {"name": "crack", "area": 0.03, "hex_color": "#23A436"}
    assert message["confidence"] == 0.93
    assert "trigger_id" not in message


def test_a_long_source_keeps_its_end() -> None:
    message = json.loads(replace(INSPECTION, source="/x" * 4000 + "/part.png").to_json())
    assert message["image"]["source"].startswith("\u2026")
    assert message["image"]["source"].endswith("/part.png")
    assert len(message["anomalies"]) == 2


def test_a_hundred_classes_lose_the_smallest_and_say_so(inspection_schema: Dict[str, Any]) -> None:
    many = tuple(Anomaly(f"class{i:03d}" + "x" * 60, i / 1000, "#102030") for i in range(100))
    text = replace(INSPECTION, anomalies=many).to_json()
    message = json.loads(text)
    jsonschema.validate(message, inspection_schema)
    assert len(text) <= MAX_MESSAGE_BYTES
    assert message["anomalies_omitted"] + len(message["anomalies"]) == 100
    assert message["anomalies"][-1]["name"].startswith("class099")
    assert message["anomalies"][0]["area"] > 0


@given(
    source=st.text(max_size=6000),
    names=st.lists(st.text(min_size=1, max_size=80), max_size=104),
    version=st.none() | st.text(max_size=40),
)
def test_every_message_is_small_enough_and_valid(
    inspection_schema: Dict[str, Any], source: str, names: "list[str]", version: "str | None"
) -> None:
    anomalies = tuple(Anomaly(name, 0.5, "#ABCDEF") for name in names)
    text = replace(INSPECTION, source=source, anomalies=anomalies, model_version=version).to_json()
    assert len(text) <= MAX_MESSAGE_BYTES
    jsonschema.validate(json.loads(text), inspection_schema)


@pytest.mark.parametrize("field", ["version", "camera", "confidence", "anomalies"])
def test_the_schema_refuses_a_message_without(inspection_schema: Dict[str, Any], field: str) -> None:
    message = json.loads(INSPECTION.to_json())
    del message[field]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(message, inspection_schema)


def test_the_time_of_capture_is_read_back_to_the_microsecond() -> None:
    assert wall_ns_of("2025-12-31T23:59:59.123456Z") == 1_767_225_599_123_456_000
    for text in ("", "2025-12-31", "2025-12-31T23:59:59Z", "yesterday", "2025-13-31T23:59:59.123456Z"):
        with pytest.raises(ValueError, match=r"no time|month"):
            wall_ns_of(text)
