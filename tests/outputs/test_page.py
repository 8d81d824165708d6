"""docs/outputs.md and docs/plc.md: what they show can be configured, and what is listed is all there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List

import yaml
from outputs.conftest import LANES
from support.outputs import PEERS

from edge_agent.agent import read_settings

_DOCS = Path(__file__).parents[2] / "docs"
_PAGES = (_DOCS / "outputs.md").read_text() + (_DOCS / "plc.md").read_text()


def _blocks() -> List[Dict[str, Any]]:
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", _PAGES, re.DOTALL)]


def test_every_configuration_is_right_and_every_kind_has_one() -> None:
    shown = set()
    for block in _blocks():
        settings = read_settings({"lanes": {"press-7": LANES["a"]}, **block}, "docs/outputs.md", thing="press-7")
        shown |= {type(output.to).__struct_config__.tag for output in settings.outputs.values()}
    assert shown == {peer.name for peer in PEERS}
