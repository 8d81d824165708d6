from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest

from edge_agent.agent import read_settings
from edge_agent.config import read_file
from edge_agent.errors import ConfigError

LANE: Dict[str, Any] = {"model": "com.example.Model", "camera": {"type": "folder", "path": "/images"}}


def _read(data: Dict[str, Any]) -> Any:
    return read_settings(data, "inspector.yaml", thing="press-7")


def test_defaults_are_filled_in_and_the_thing_goes_into_the_topic() -> None:
    settings = _read({"lanes": {"line-1": LANE}, "accessControl": {"ignored": {}}})
    assert settings.publish.topic == "edge-agent/press-7/inspections"
    assert settings.publish.qos == 1
    assert settings.edge_agent_socket == "/tmp/com.edgeagent.ModelServer.sock"
    assert settings.lanes["line-1"].camera.watch is True


def test_scalars_may_be_strings_as_nucleus_lite_makes_them() -> None:
    camera = {"type": "folder", "path": "/images", "watch": "false", "settle_s": "0.25"}
    settings = _read(
        {
            "lanes": {"a": {**LANE, "camera": camera, "deadline_s": "3"}},
            "publish": {"qos": "0"},
            "spool": {"bytes": "2097152"},
        }
    )
    assert settings.lanes["a"].camera.watch is False
    assert settings.lanes["a"].camera.settle_s == 0.25
    assert settings.lanes["a"].deadline_s == 3.0
    assert (settings.publish.qos, settings.spool.bytes) == (0, 2_097_152)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, ["inspector.yaml: lanes", "at least one lane"]),
        ({"lanes": []}, ["inspector.yaml: lanes"]),
        ({"lanes": {"a b": LANE}}, ["lanes.a b", "no lane name"]),
        ({"lanes": {"a": LANE}, "colour": 1}, ["inspector.yaml: colour", "not a known key"]),
        ({"lanes": {"a": {**LANE, "modle": 1}}}, ["inspector.yaml: lanes.a.modle", "not a known key"]),
        (
            {"lanes": {"a": {**LANE, "camera": {**LANE["camera"], "paht": 1}}}},
            ["inspector.yaml: lanes.a.camera.paht", "not a known key"],
        ),
        ({"lanes": {"a": {"model": "m"}}}, ["inspector.yaml: lanes.a.camera", "is missing"]),
        ({"lanes": {"a": {**LANE, "camera": {"type": "webcam"}}}}, ["lanes.a.camera", "webcam"]),
        ({"lanes": {"a": {**LANE, "camera": {"type": "folder"}}}}, ["lanes.a.camera.path", "is missing"]),
        ({"lanes": {"a": {**LANE, "deadline_s": "soon"}}}, ["lanes.a.deadline_s", "float"]),
        ({"lanes": {"a": {**LANE, "deadline_s": 0}}}, ["lanes.a", "above 0"]),
        ({"lanes": {"a": {**LANE, "model": ""}}}, ["lanes.a", "1 to 128 characters"]),
        ({"lanes": {"a": LANE}, "publish": {"qos": 2}}, ["publish.qos"]),
        ({"lanes": {"a": LANE}, "publish": {"topic": "a/#"}}, ["publish.topic", "wildcard"]),
        ({"lanes": {"a": LANE}, "publish": {"topic": "a/+/b"}}, ["publish.topic", "wildcard"]),
        ({"lanes": {"a": LANE}, "publish": {"topic": "1/2/3/4/5/6/7/8/9"}}, ["publish.topic", "8 slashes"]),
        ({"lanes": {"a": LANE}, "publish": {"topic": ""}}, ["publish.topic", "empty"]),
        ({"lanes": {"a": LANE}, "publish": {"topic": "x" * 257}}, ["publish.topic", "257 bytes"]),
        ({"lanes": {"a": LANE}, "publish": {"message_bytes": 200_000}}, ["publish", "7000 to 131072"]),
        ({"lanes": {"a": LANE}, "publish": {"messages_per_s": 101}}, ["publish", "at most 100"]),
        ({"lanes": {"a": LANE}, "publish": {"bytes_per_s": 0}}, ["publish", "at most 512000"]),
        ({"lanes": {"a": LANE}, "publish": {"batch": 0}}, ["publish", "at least 1"]),
        ({"lanes": {"a": LANE}, "publish": []}, ["inspector.yaml: publish"]),
        ({"lanes": {"a": LANE}, "spool": {"bytes": 1000}}, ["spool", "at least 1048576"]),
        ({"lanes": {"a": LANE}, "spool": {"policy": "keep_some"}}, ["spool.policy", "keep_some"]),
        ({"lanes": {"a": LANE}, "spool": {"interval_s": 0}}, ["spool", "above 0"]),
        ({"lanes": {"a": LANE}, "edge_agent": "azure"}, ["edge_agent"]),
    ],
)
def test_what_is_wrong_is_named_with_its_path(data: Dict[str, Any], words: "list[str]") -> None:
    with pytest.raises(ConfigError) as caught:
        _read(data)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "socket"),
    [
        ({"edge_agent": "aws"}, "/tmp/aws.iot.lookoutvision.EdgeAgent.sock"),
        ({"edge_agent": "open", "socket": ""}, "/tmp/com.edgeagent.ModelServer.sock"),
        ({"edge_agent": "aws", "socket": "/run/other.sock"}, "/run/other.sock"),
    ],
)
def test_the_choice_of_edge_agent_chooses_its_socket(keys: Dict[str, Any], socket: str) -> None:
    assert _read({"lanes": {"a": LANE}, **keys}).edge_agent_socket == socket


def test_seven_slashes_are_allowed() -> None:
    settings = _read({"lanes": {"a": LANE}, "publish": {"topic": "1/2/3/4/5/6/7/8"}})
    assert settings.publish.topic == "1/2/3/4/5/6/7/8"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.yaml", "lanes: [unclosed", "is not valid"),
        ("a.yaml", "- a list", "no mapping"),
        ("a.yaml", "", "no mapping"),
        ("a.json", "{'single': 1}", "is not valid"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, name: str, text: str, reason: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        read_file(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_binary_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_file(tmp_path / "absent.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_file(binary)
