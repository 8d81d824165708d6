"""`edge-agent doctor` as a whole: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import pytest
from cli.conftest import Done
from PIL import Image
from support.packages import make_package

from edge_agent.server import ModelServer

CHECKS = ["python", "groups", "socket", "agent", "aws-agent", "gpu", "models", "ipc", "clock", "disk", "cameras"]
Command = Callable[..., Done]


@pytest.fixture
def line(place: Path, socket_path: str) -> Path:
    """A configuration whose parts are all there."""
    make_package(place / "models/bolts")
    (place / "images").mkdir()
    Image.new("RGB", (96, 80)).save(place / "images/a.png")
    document = {
        "socket": socket_path,
        "spool": {"path": str(place / "spool"), "bytes": 1048576},
        "lanes": {"line-1": {"model": "bolts", "camera": {"type": "folder", "path": str(place / "images")}}},
    }
    (place / "inspector.json").write_text(json.dumps(document))
    return place


def arguments(line: Path) -> list:
    return [
        "--config",
        str(line / "inspector.json"),
        "--models",
        str(line / "models"),
        "--greengrass",
        str(line / "gg"),
    ]


def test_a_device_in_order(command: Command, line: Path, socket_path: str) -> None:
    server = ModelServer(line / "models", socket_path)
    server.start()
    try:
        done = command("doctor", "--json", *arguments(line))
        text = command("doctor", *arguments(line))
    finally:
        server.stop(5)
    report = json.loads(done.out)
    assert (done.code, report["broken"]) == (0, 0), done.out
    assert sorted({entry["check"] for entry in report["findings"]}, key=CHECKS.index) == CHECKS
    assert set(report["findings"][0]) == {"check", "status", "text", "remedy"}
    assert text.code == 0
    assert "ok       models     bolts 1.0.0, onnx\n" in text.out
    assert "ok       cameras    line-1: 96 x 80\n" in text.out


def test_a_device_in_disorder(command: Command, line: Path) -> None:
    (line / "images/a.png").unlink()
    (line / "images").rmdir()
    (line / "models/bolts/manifest.json").write_text("{")
    done = command("doctor", "--json", *arguments(line))
    report = json.loads(done.out)
    assert done.code == 1
    broken = [entry["check"] for entry in report["findings"] if entry["status"] == "broken"]
    assert broken == ["socket", "models", "cameras"]
    assert report["broken"] == 3
    left = [value for name in ("socket", "models", "cameras") for value in ("--skip", name)]
    assert command("doctor", *arguments(line), *left).code == 0


def test_wrong_arguments(command: Command, line: Path) -> None:
    assert command("doctor", "--skip", "none").code == 2
    assert command("doctor", "--compiler-options", "{").code == 2
    assert command("doctor", "--user", "nobody-at-all").code == 2
    assert command("doctor", "--config", str(line / "none.yaml")).code == 2


def test_the_page_names_every_check() -> None:
    page = (Path(__file__).parents[2] / "docs/doctor.md").read_text()
    assert [name for name in CHECKS if f"| `{name}` |" not in page] == []
