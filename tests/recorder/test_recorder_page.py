"""The page on the recorder: its configurations are taken, its line is the one that is written, its causes are all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, Set, get_args

import numpy as np
import pytest
import yaml
from recorder.conftest import Rig

from edge_agent.agent import read_settings
from edge_agent.agent.figures import reading
from edge_agent.errors import ConfigError
from edge_agent.packaging.portable import read_portable_recipe
from edge_agent.recorder.upload.objects import objects_of
from edge_agent.recorder.upload.uploader import State

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "recorder.md").read_text()
LANES: Dict[str, Any] = {"line-1": {"model": "m", "camera": {"type": "sample"}}}


def test_the_configurations_are_taken() -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    assert [sorted(block) for block in blocks] == [["recorder"], ["lanes"], ["recorder"], ["ComponentDependencies"]]
    for block in blocks[:3]:
        read_settings({"lanes": LANES, **block}, "page", thing="press-7")


def test_the_recipe_may_depend_on_the_token_exchange_service(tmp_path: Path) -> None:
    [addition] = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "TokenExchange" in block]
    recipe = tmp_path / "inspector.yaml"
    recipe.write_text((CHECKOUT / "recipe" / "inspector.yaml").read_text() + addition)
    assert list(read_portable_recipe(recipe)["ComponentDependencies"]) == ["aws.greengrass.TokenExchangeService"]


def test_the_line_has_the_documented_keys(rig: Rig) -> None:
    rig.start()
    rig.give(1, anomalous=True, mask=np.full((64, 64, 3), 255, np.uint8))
    rig.settled()
    [documented] = [json.loads(text) for text in re.findall(r"```json\n(\{\"source-ref\".*?)\n```", PAGE)]
    [written] = rig.lines()
    assert list(written) == list(documented)
    for key in ("anomaly-label-metadata", "anomaly-mask-ref-metadata"):
        assert list(written[key]) == list(documented[key])
    assert re.fullmatch(r"\d{8}/\d{2}/\d{8}T\d{6}\.\d{6}Z_line-1_4711\.jpg", documented["source-ref"])


def test_the_causes_are_all() -> None:
    def causes(counter: str) -> Set[str]:
        rows = re.findall(rf"^\| `{counter}` \| ([^|]*)\|", PAGE, re.MULTILINE)
        return {cause for row in rows for cause in re.findall(r"`(\w+)`", row)}

    assert causes("dropped") == set(reading.RECORDER_DROPPED)
    assert causes("removed") == set(reading.RECORDER_REMOVED)
    assert causes("reviewed") == set(reading.RECORDER_REVIEWED)
    assert causes("lost") == set(reading.UPLOAD_LOST)


def test_the_upload_states_are_all() -> None:
    table = PAGE.split("### When it does not go")[1].split("\n\n")[1]
    cells = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    assert {state for cell in cells for state in re.findall(r"`(\w+)`", cell)} == {"off", *get_args(State)}


def test_the_keys_in_the_bucket_are_those() -> None:
    listed = PAGE.split("### In the bucket")[1].split("```")[1].split()
    image = listed[0][len("edge-agent/press-7/") :]
    found = objects_of(Path("/nowhere"), image, {"source-ref": image}, "b", "edge-agent/press-7")
    # All but the mask, of which there is none.
    assert [one.key for one in found] == [key for key in listed if not key.endswith(".mask")]


def test_the_review_has_the_documented_members(rig: Rig) -> None:
    rig.start()
    rig.give(1, anomalous=True)
    rig.settled()
    rig.recorder.review("a", Path(rig.lines()[0]["source-ref"]).stem, "wrong", "a reflection")
    rig.stop()
    [documented] = [json.loads(text) for text in re.findall(r"```json\n(\{\"review\".*?)\n```", PAGE)]
    written = rig.lines()[0]["review"]
    assert list(written) == list(documented["review"])
    assert list(written["said"]) == list(documented["review"]["said"])


@pytest.mark.parametrize(
    ("recorder", "reason"),
    [
        ({"rules": {"x": {"verdict": "good"}}}, "recorder.rules.x.verdict"),
        ({"rules": {"x y": {}}}, "recorder.rules.x y: is no rule name"),
        ({"lanes": ["line-2"]}, "recorder.lanes: there is no lane line-2"),
        ({"quality": 0}, "`quality` must be 1 to 100"),
        ({"queue": 0}, "`queue` must be 1 to 1000"),
        ({"bytes": 1}, "`bytes` must be at least 1000000"),
        ({"every": -1}, "`every`, `days` and `free_bytes` must be 0 or more"),
        ({"format": "bmp"}, "recorder.format"),
        ({"upload": {"bucket": "parts"}}, "`upload` needs a `path`"),
        ({"path": "/x", "upload": {"bucket": "Parts"}}, "`bucket` must be a bucket's name"),
        ({"path": "/x", "upload": {"bucket": "parts", "prefix": "/a"}}, "`prefix` must be names"),
        ({"path": "/x", "upload": {"bucket": "parts", "prefix": "a/../b"}}, "`prefix` must not hold . or .."),
        ({"path": "/x", "upload": {"bucket": "parts", "bytes_per_s": 10}}, "`bytes_per_s` must be 0, or at least"),
        ({"path": "/x", "upload": {"bucket": "parts", "timeout_s": 0}}, "`timeout_s` must be 1 to 300"),
        ({"path": "/x", "upload": {"bucket": "parts", "secret": "x"}}, "recorder.upload.secret: is not a known key"),
        ({"upload": {"rules": {"x": {"verdict": "good"}}}}, "recorder.upload.rules.x.verdict"),
        ({"upload": {"rules": {"x y": {}}}}, "recorder.upload.rules.x y: is no rule name"),
    ],
)
def test_what_cannot_be_is_refused(recorder: Dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({"lanes": LANES, "recorder": recorder}, "page", thing="press-7")
    assert reason in str(caught.value)


@pytest.mark.parametrize("thing", ["", "press 7"])
def test_a_prefix_that_the_thing_s_name_spoils_is_refused(thing: str) -> None:
    upload = {"bucket": "parts"}
    with pytest.raises(ConfigError, match=r"page: recorder\.upload\.prefix: is edge-agent/.* with the thing's name"):
        read_settings({"lanes": LANES, "recorder": {"path": "/x", "upload": upload}}, "page", thing=thing)
    read_settings({"lanes": LANES, "recorder": {"path": "/x"}}, "page", thing=thing)
