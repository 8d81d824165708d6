"""docs/outputs.md: what it shows can be configured, and what it lists is all there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List

import yaml
from outputs.conftest import LANES
from support.outputs import PEERS

from edge_agent.agent import read_settings

_PAGE = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text()


def _blocks() -> List[Dict[str, Any]]:
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)]


def test_every_configuration_is_right_and_every_kind_has_one() -> None:
    shown = set()
    for block in _blocks():
        settings = read_settings({"lanes": LANES, **block}, "docs/outputs.md", thing="press-7")
        shown |= {type(output.to).__struct_config__.tag for output in settings.outputs.values()}
    assert shown == {peer.name for peer in PEERS}
