"""docs/from-images.md, step by step: every command as the page has it, on a few rendered parts."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from support.messages import published
from support.walk import Walk

from edge_agent.sample import write_dataset

PAGE = "from-images.md"
PARTS = 16

# A model for the machinery's sake: the page's own command takes minutes.
QUICK = {"edge-agent train": " --epochs 2 --size 96x64 --threads 1"}


@pytest.mark.train
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra `train`)")
@pytest.mark.timeout(300)
def test_from_images_to_inspections(tmp_path: Path) -> None:
    with Walk(PAGE, tmp_path, QUICK) as walk:
        write_dataset(tmp_path / "cookies", PARTS, seed=1)
        (tmp_path / "configuration.json").write_text(walk.blocks("json")[0])
        (tmp_path / "line.yaml").write_text(walk.blocks("yaml")[0])
        printed = walk.run()
    about = json.loads((tmp_path / "registry/cookies/1/com.example.Cookies/manifest.json").read_text())
    held = about["performance"]["held_out"]
    shown = dict(line.split() for line in printed["edge-agent models"].splitlines())
    assert shown["status"] == "RUNNING"
    assert {key: float(shown[key]) for key in ("F1Score", "Recall", "Precision")} == pytest.approx(
        {"F1Score": held["f1"], "Recall": held["recall"], "Precision": held["precision"]}
    )
    assert (tmp_path / "registry/cookies/1/com.example.Cookies.html").stat().st_size > 10_000
    inspections = published(tmp_path / "record.jsonl")
    assert len(inspections) == PARTS
    assert {inspection["model"]["component"] for inspection in inspections} == {"com.example.Cookies"}


def test_the_page_has_a_line_for_each_step(tmp_path: Path) -> None:
    walk = Walk(PAGE, tmp_path)
    assert walk.steps == [str(number) for number in range(1, 9)]
    assert len(walk.commands) == 10  # the sixth and the last have two lines
