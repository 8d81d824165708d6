"""`edge-agent config`, and that the reference says what reading accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from edge_agent.agent import InspectorSettings, read_settings
from edge_agent.cli.config import config
from edge_agent.config_reference import json_schema, markdown, rows
from edge_agent.errors import ConfigError

CHECKOUT = Path(__file__).parents[2]
GOOD: Dict[str, Any] = {
    "publish": {"topic": "edge-agent/{thing}/inspections", "qos": 0},
    "lanes": {
        "a": {"model": "m", "camera": {"type": "folder", "path": "/images"}},
        "b": {
            "model": "m",
            "camera": {"type": "folder", "path": "/images", "watch": False},
            "trigger": {"type": "gpio", "chip": "/dev/gpiochip0", "line": 3},
            "policy": "latest",
        },
    },
}


def _changed(path: str, value: Any) -> Dict[str, Any]:
    document = json.loads(json.dumps(GOOD))
    place = document
    *parents, last = path.split(".")
    for key in parents:
        place = place[key]
    place[last] = value
    return document


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(config, list(arguments))


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_check_and_show(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"configuration{suffix}"
    file.write_text(json.dumps(GOOD))
    assert _run("check", str(file)).output == f"{file}: right, 2 lane(s): a, b\n"
    shown = yaml.safe_load(_run("show", str(file)).output)
    assert shown == json.loads(_run("show", "--json", str(file)).output)
    assert shown["lanes"]["a"]["policy"] == "wait"
    assert shown["lanes"]["b"]["trigger"]["edge"] == "rising"
    again = tmp_path / "again.json"
    again.write_text(json.dumps(shown))
    assert read_settings(shown, "again", thing="t") == read_settings(GOOD, "first", thing=_thing(shown))


def _thing(shown: Dict[str, Any]) -> str:
    return str(shown["publish"]["topic"].split("/")[1])


WRONG = [
    ("lanes.a.modle", "m", "lanes.a.modle: is not a known key"),
    ("lanes.b.buffer", 0, "lanes.b: `buffer` must be"),
    ("lanes.b.trigger.edge", "up", "lanes.b.trigger.edge"),
    ("lanes.b.camera", {"type": "folder"}, "lanes.b.camera.path: is missing"),
    ("publish.qos", 2, "publish.qos"),
    ("publish.topic", "a/#", "publish.topic"),
]


@pytest.mark.parametrize(("path", "value", "words"), WRONG)
def test_what_is_wrong_is_named_by_its_path(tmp_path: Path, path: str, value: Any, words: str) -> None:
    file = tmp_path / "configuration.json"
    file.write_text(json.dumps(_changed(path, value)))
    outcome = _run("check", str(file))
    assert isinstance(outcome.exception, ConfigError)
    assert f"{file}: {words}" in str(outcome.exception)


def test_the_schema_accepts_what_reading_accepts() -> None:
    schema = json_schema(InspectorSettings, "configuration")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(GOOD)
    for path, value, _words in WRONG:
        if path in ("lanes.b.buffer", "publish.topic"):
            continue  # what depends on more than a type is said in the key's description
        assert not validator.is_valid(_changed(path, value)), path
    assert "the model component" in schema["$defs"]["LaneSettings"]["properties"]["model"]["description"]


def test_every_key_says_what_it_means() -> None:
    assert [row.path for row in rows(InspectorSettings) if not row.text.strip(" `:")] == []


def test_the_page_is_what_the_types_say() -> None:
    page = (CHECKOUT / "docs" / "configuration.md").read_text()
    assert markdown(InspectorSettings) in page, "run scripts/generate_docs"
