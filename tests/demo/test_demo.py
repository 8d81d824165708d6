from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import jsonschema
import psutil
import pytest
from support.messages import published

from edge_agent.training.ground_truth import read_ground_truth


def _demo(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_demo_inspects_publishes_and_adds_up(tmp_path: Path, inspection_schema: Dict[str, Any]) -> None:
    keep = tmp_path / "kept"
    done = _demo("--frames", "15", "--rate", "20", "--keep", str(keep), "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["frames"] == summary["inspected"] == summary["published"] == 15
    assert 0 < summary["anomalous"] < 15
    assert summary["agreement"] >= 0.9
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert summary["accounting"]["balanced"]
    assert summary["accounting"]["delivered"] == 15
    for message in published(keep / "record.jsonl"):
        jsonschema.validate(message, inspection_schema)
    assert len(list((keep / "images").iterdir())) == 15
    recorded = read_ground_truth(keep / "recorded" / "line-1.manifest").examples
    assert len(recorded) == 15
    assert sum(example.is_anomalous for example in recorded) == summary["anomalous"]


def test_the_demo_tells_a_person_what_it_found() -> None:
    done = _demo("--frames", "5", "--rate", "20")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("part-0000") == 5
    for words in ("anomalous parts found", "capture to nucleus", "captured 5 = inspected 5"):
        assert words in done.stdout


def test_a_plc_triggers_every_part_and_sorts_it(tmp_path: Path) -> None:
    done = _demo("--frames", "15", "--rate", "20", "--plc", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["frames"] == summary["inspected"] == summary["published"] == 15
    assert summary["agreement"] >= 0.9
    line = summary["plc"]
    assert line["parts"] == line["acknowledged"] == line["good"] + line["rejected"] == 15
    assert line["rejected"] == summary["anomalous"]
    assert line["balanced"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_told_to_end_leaves_no_process(number: signal.Signals) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "edge_agent", "demo", "--frames", "10000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test that runs in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads here
    )
    assert demo.stdout is not None
    assert any("part-00001.png" in line for line in demo.stdout)
    children = psutil.Process(demo.pid).children()
    assert len(children) == 3
    demo.send_signal(number)
    _, error = demo.communicate(timeout=60)
    assert (demo.returncode, error.strip()) == (130, "error: interrupted")
    assert [child for child in children if child.is_running()] == []


def test_a_folder_with_an_earlier_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.png").write_text("precious")
    done = _demo("--frames", "2", "--keep", str(tmp_path))
    assert done.returncode == 1
    assert "holds an earlier demo" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "images" / "mine.png").read_text() == "precious"
