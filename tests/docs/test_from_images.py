"""docs/from-images.md, step by step: every command as the page has it, on a few rendered parts."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Iterator, List

import pytest
from support.messages import published

from edge_agent.sample import write_dataset

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra `train`)"),
]

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "from-images.md").read_text()
PARTS = 16

# A model for the machinery's sake: the page's own command takes minutes.
_QUICK = " --epochs 2 --size 96x64 --threads 1"


def _commands(folder: Path) -> List[str]:
    """The page's commands in their order, with this folder for /tmp."""
    lines = [line.strip() for line in PAGE.splitlines() if re.match(r" +(edge-agent|python3|\.) ", line)]
    commands = [line.replace("/tmp/", f"{folder}/").replace("python3", sys.executable) for line in lines]
    return [command + _QUICK if command.startswith("edge-agent train") else command for command in commands]


def _block(kind: str) -> str:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "edge-agent"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge_agent "$@"\n')
    program.chmod(0o755)
    write_dataset(tmp_path / "cookies", PARTS, seed=1)
    (tmp_path / "configuration.json").write_text(_block("json"))
    (tmp_path / "line.yaml").write_text(_block("yaml").replace("/tmp/", f"{tmp_path}/"))
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> Dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_AGENT_")}
    return {**kept, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(CHECKOUT), "HOME": str(folder)}


@pytest.fixture
def background() -> Iterator[List["subprocess.Popen[bytes]"]]:
    processes: List["subprocess.Popen[bytes]"] = []
    yield processes
    for process in reversed(processes):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


@pytest.mark.timeout(300)
def test_from_images_to_inspections(
    folder: Path, environment: Dict[str, str], background: List["subprocess.Popen[bytes]"]
) -> None:
    printed: Dict[str, str] = {}
    sourced = ""
    for command in _commands(folder):
        if command.startswith(". "):
            sourced = f"{command} && "
        elif re.match("edge-agent (serve|nucleus) ", command):
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"], cwd=folder, env=environment, start_new_session=True
            )
            background.append(process)
            _wait_for(Path(re.search(r"--socket (\S+)", command).group(1)), process)
            if "nucleus" in command:
                _wait_for(folder / "nucleus.env", process)
        else:
            done = subprocess.run(
                ["/bin/sh", "-c", sourced + command],
                cwd=folder,
                env=environment,
                timeout=120,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            printed[" ".join(command.split()[:3])] = done.stdout
    about = json.loads((folder / "registry/cookies/1/com.example.Cookies/manifest.json").read_text())
    held = about["performance"]["held_out"]
    shown = dict(line.split() for line in printed["edge-agent models start"].splitlines())
    assert shown["status"] == "RUNNING"
    assert {key: float(shown[key]) for key in ("F1Score", "Recall", "Precision")} == pytest.approx(
        {"F1Score": held["f1"], "Recall": held["recall"], "Precision": held["precision"]}
    )
    assert (folder / "registry/cookies/1/com.example.Cookies.html").stat().st_size > 10_000
    inspections = published(folder / "record.jsonl")
    assert len(inspections) == PARTS
    assert {inspection["model"]["component"] for inspection in inspections} == {"com.example.Cookies"}


def test_the_page_has_a_line_for_each_step(tmp_path: Path) -> None:
    steps = re.findall(r"^\d+\. ", PAGE, re.MULTILINE)
    assert steps == [f"{number}. " for number in range(1, 9)]
    # Eight steps, of which the last has two lines, and one more command below them.
    assert len(_commands(tmp_path)) == 10


def _wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
