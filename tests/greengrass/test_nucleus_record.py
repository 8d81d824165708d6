"""The nucleus's record file: one line for each message, whatever its bytes are."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Dict

import pytest

from edge_agent.greengrass.bounded_json import MAX_DEPTH, loads
from edge_agent.greengrass.nucleus.record import Record


def _written(path: Path, payload: bytes) -> Dict[str, Any]:
    record = Record(path)
    record.write("factory/line", payload, 1)
    record.close()
    (line,) = path.read_bytes().splitlines()
    entry: Dict[str, Any] = json.loads(line)
    assert (entry["topic"], entry["qos"]) == ("factory/line", 1)
    return entry


@pytest.mark.parametrize(
    "payload",
    [
        b'{"camera":"north","score":0.5}',
        b'{\n  "camera": "north",\r\n  "sequence": 1\n}',
        '{"name": "G\u00e4hn", "line": "\u2028"}'.encode(),
        '{"camera": "north"}'.encode("utf-16"),
        b"[]",
        b'"text"',
        b"12",
    ],
    ids=["plain", "several-lines", "not-ascii", "utf-16", "list", "text", "number"],
)
def test_json_is_recorded_as_json(tmp_path: Path, payload: bytes) -> None:
    assert _written(tmp_path / "record", payload)["payload"] == json.loads(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"\xff\xd8\xff", b"{", b'{"a": NaN}', b"1e999", b"[" * 200 + b"]" * 200], ids=range(6)
)
def test_what_is_no_json_is_recorded_as_it_is(tmp_path: Path, payload: bytes) -> None:
    assert base64.b64decode(_written(tmp_path / "record", payload)["payload_base64"]) == payload


def test_brackets_count_only_outside_of_strings() -> None:
    brackets = "[" * (2 * MAX_DEPTH)
    assert loads(json.dumps({"text": brackets, "quoted": f'\\"{brackets}'})) == {
        "text": brackets,
        "quoted": f'\\"{brackets}',
    }
    assert loads(json.dumps([[]] * (2 * MAX_DEPTH))) == [[]] * (2 * MAX_DEPTH)
    nested = "[" * (MAX_DEPTH + 1) + '"]]]"' + "]" * (MAX_DEPTH + 1)
    with pytest.raises(ValueError, match="nested more than"):
        loads(nested)


@pytest.mark.timeout(20)
def test_a_string_without_an_end_is_refused_soon() -> None:
    with pytest.raises(ValueError, match="Unterminated string"):
        loads("[" + "[]," * (2 * MAX_DEPTH) + '"' + '\\"' * 200_000)
