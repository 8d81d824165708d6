"""docs/recorder.md: the four commands from a demo's recording to a model that inspects, on a few parts."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import List

import pytest
from support.shell import CHECKOUT, Shell

PARTS = 24

# A model for the machinery's sake: the page's own commands take minutes.
QUICK = {
    "edge-agent demo": (" --frames 1000", f" --frames {PARTS} --rate 20"),
    "edge-agent train": ("$", " --epochs 2 --size 96x64 --threads 1"),
    "edge-agent detect": ("$", " --json"),
}


def _commands(folder: Path) -> List[str]:
    page = (CHECKOUT / "docs" / "recorder.md").read_text()
    block = re.search(r"```\n(edge-agent demo .*?)```", page, re.DOTALL)
    assert block is not None
    return block.group(1).replace("/tmp/", f"{folder}/").splitlines()


@pytest.mark.train
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra `train`)")
@pytest.mark.timeout(300)
def test_what_a_demo_recorded_trains_a_model_that_inspects(tmp_path: Path) -> None:
    commands = _commands(tmp_path)
    assert len(commands) == 4
    with Shell(tmp_path) as shell:
        for command in commands:
            pattern, quick = QUICK.get(" ".join(command.split()[:2]), ("$", ""))
            printed = shell.do(re.sub(pattern, quick, command))
    [row] = json.loads(printed)["results"]
    assert row["image"].endswith("part-00001.png")
    assert 0 <= row["confidence"] <= 1
    assert len((tmp_path / "kept" / "recorded" / "line-1.manifest").read_text().splitlines()) == PARTS
