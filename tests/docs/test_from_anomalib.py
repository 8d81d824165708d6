"""docs/from-anomalib.md, step by step: every command as the page has it, on an export in anomalib's form."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from PIL import Image
from support.anomalib import make_export
from support.messages import published
from support.packages import part
from support.walk import Walk

PAGE = "from-anomalib.md"

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the page's example is for x86_64")


@pytest.mark.timeout(300)
def test_from_an_export_to_a_line(tmp_path: Path) -> None:
    for directory in ("export/weights/onnx", "golden", "images"):
        (tmp_path / directory).mkdir(parents=True)
    make_export(tmp_path / "export/weights/onnx/model.onnx", external="model.onnx.data")
    for directory in ("golden", "images"):
        Image.fromarray(part()).save(tmp_path / directory / "good.png")
        Image.fromarray(part(scratched=True)).save(tmp_path / directory / "bad.png")
    with Walk(PAGE, tmp_path) as walk:
        (tmp_path / "configuration.json").write_text(walk.blocks("json")[0])
        (tmp_path / "line.yaml").write_text(walk.blocks("yaml")[0])
        printed = walk.run()
    assert "RUNNING" in printed["edge-agent models"]
    assert (tmp_path / "overlays" / "bad.png.overlay.png").is_file()
    verdicts = sorted(inspection["is_anomalous"] for inspection in published(tmp_path / "record.jsonl"))
    assert verdicts == [False, True]


def test_the_page_has_a_command_for_each_step(tmp_path: Path) -> None:
    walk = Walk(PAGE, tmp_path)
    assert walk.steps == [str(number) for number in range(1, 9)]
    assert len(walk.commands) == 9  # the last has two lines
