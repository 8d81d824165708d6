"""The configurations of docs/cameras.md and of the other pages are right, and there is one for every kind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Iterator, Set, Tuple, get_args

import msgspec
import pytest
import yaml

from edge_agent.agent import read_settings
from edge_agent.cameras import CameraSettings
from edge_agent.cameras.decode import SUFFIXES
from edge_agent.cameras.v4l2 import CONTROLS

DOCS = Path(__file__).parents[2] / "docs"


def _configurations() -> Iterator[Tuple[str, Any]]:
    for page in sorted(DOCS.glob("*.md")):
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)):
            data = yaml.safe_load(block)
            if isinstance(data, dict) and "lanes" in data:
                yield f"{page.name}, {number}", data


CONFIGURATIONS = list(_configurations())


@pytest.mark.parametrize(
    "configuration", [data for _, data in CONFIGURATIONS], ids=[name for name, _ in CONFIGURATIONS]
)
def test_a_documented_configuration_is_right(configuration: Any) -> None:
    assert read_settings(configuration, "page", thing="press-7").lanes


def test_every_kind_of_camera_is_documented_by_one() -> None:
    kinds: Set[Any] = {msgspec.inspect.type_info(kind).tag for kind in get_args(CameraSettings)}  # type: ignore[attr-defined]
    shown = {lane["camera"]["type"] for _, data in CONFIGURATIONS for lane in data["lanes"].values()}
    assert kinds - shown == set()


def test_the_page_names_every_ending_and_every_control() -> None:
    page = (DOCS / "cameras.md").read_text()
    assert [suffix for suffix in SUFFIXES if suffix not in page] == []
    assert [name for name in CONTROLS if f"`{name}`" not in page] == []
