"""`edge-agent spool` as a user types it: status, export and drain, beside an inspector, after a kill, on damage."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
import yaml
from click.testing import CliRunner
from support.messages import published
from support.spools import deliver, open_spool, put

from edge_agent.cli import cli
from edge_agent.greengrass.nucleus import LocalNucleus

COUNT = 40


def _spool(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", "spool", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def _here(*arguments: str) -> str:
    """The same in this process, which is quicker: what it prints."""
    printed = CliRunner().invoke(cli, ["spool", *arguments], catch_exceptions=False)
    assert printed.exit_code == 0, printed.output
    return printed.output


def _status(*arguments: str) -> Dict[str, Any]:
    found: Dict[str, Any] = json.loads(_here("status", "--json", *arguments))
    return found


def _export(*arguments: str) -> List[int]:
    lines = [line for line in _here("export", *arguments).splitlines() if not line.startswith("damaged:")]
    return [json.loads(line)["number"] for line in lines]


def _contents(directory: Path) -> Dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")  # SQLite's own, and made anew by whoever comes
    }


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """40 inspections wait, of 45."""
    spool = open_spool(tmp_path / "spool")
    for number in range(-5, COUNT):
        put(spool, number, lane=f"line-{number % 2}")
    spool.flush(30.0)
    deliver(spool, most=5)
    spool.close(5.0)
    return tmp_path / "spool"


@pytest.fixture
def configuration(tmp_path: Path, directory: Path) -> Path:
    path = tmp_path / "line.yaml"
    lane = {"model": "com.example.Model", "camera": {"type": "folder", "path": "/images"}}
    path.write_text(yaml.safe_dump({"spool": {"path": str(directory)}, "lanes": {"line-1": lane}}))
    return path


@pytest.fixture
def nucleus(tmp_path: Path) -> Iterator[LocalNucleus]:
    with LocalNucleus(tmp_path / "gg.sock", record=tmp_path / "record.jsonl", thing="press-7") as made:
        yield made


def test_status_and_export_say_what_waits_and_change_nothing(directory: Path, configuration: Path) -> None:
    before = _contents(directory)
    status = _status("--config", str(configuration))
    assert status["inspections"] == COUNT
    assert status["in_use"] is False
    assert status["damage"] is None
    assert {lane: book["spooled"] for lane, book in status["lanes"].items()} == {"line-0": 20, "line-1": 20}
    assert sum(book["delivered"] for book in status["lanes"].values()) == 5
    assert _export("--path", str(directory)) == list(range(COUNT))
    words = _here("status", "--path", str(directory))
    assert "not in use" in words
    assert "waiting: 40 inspections" in words
    assert "line-0: inspected 22 = delivered 2 + waiting 20 + expired 0" in words
    assert _contents(directory) == before


def test_both_work_beside_a_running_inspector(directory: Path) -> None:
    spool = open_spool(directory)
    put(spool, COUNT)
    spool.flush(30.0)
    assert _status("--path", str(directory))["in_use"] is True
    assert _export("--path", str(directory)) == list(range(COUNT + 1))
    put(spool, COUNT + 1)
    assert spool.flush(30.0)
    assert spool.trouble() is None
    spool.close(5.0)


def test_both_read_what_a_kill_and_what_damage_left(directory: Path, tmp_path: Path) -> None:
    spool = open_spool(directory)
    put(spool, COUNT)
    spool.flush(30.0)
    killed = tmp_path / "killed"
    shutil.copytree(directory, killed)
    spool.close(5.0)
    before = _contents(killed)
    assert _export("--path", str(killed)) == list(range(COUNT + 1))
    assert _status("--path", str(killed))["in_use"] is False
    assert _contents(killed) == before
    database = killed / "generation-1" / "inspections.db"
    database.write_bytes(bytes(100) + database.read_bytes()[100:])
    status = _status("--path", str(killed))
    assert "not a database" in status["damage"]
    assert status["inspections"] == COUNT + 1
    assert _export("--path", str(killed)) == list(range(COUNT + 1))
    done = _spool("export", "--path", str(killed))
    assert (done.returncode, len(done.stdout.splitlines())) == (0, COUNT + 1)
    assert "damaged:" in done.stderr
    # What was set aside can be read, too.
    recovered = open_spool(killed)
    recovered.close(5.0)
    assert _status("--path", str(killed))["set_aside"] == [str(killed / "damaged-1")]
    assert _export("--path", str(killed / "damaged-1")) == list(range(COUNT + 1))


def test_drain_delivers_in_order_and_ends(configuration: Path, nucleus: LocalNucleus, tmp_path: Path) -> None:
    done = _spool("drain", "--config", str(configuration), **nucleus.environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout == "delivered 40 inspections, 0 wait\n"
    assert [one["number"] for one in published(tmp_path / "record.jsonl")] == list(range(COUNT))
    assert _status("--config", str(configuration))["inspections"] == 0


def test_drain_gives_up_when_nothing_moves_and_waits_for_no_inspector(
    configuration: Path, directory: Path, nucleus: LocalNucleus
) -> None:
    nucleus.offline()
    nucleus.command("full")
    done = _spool("drain", "--config", str(configuration), "--patience", "0.5", **nucleus.environment())
    assert done.returncode == 1
    assert done.stdout == "delivered 0 inspections, 40 wait\n"
    spool = open_spool(directory)
    done = _spool("drain", "--config", str(configuration), **nucleus.environment())
    assert done.returncode == 1
    assert "in use by another process" in done.stderr
    assert "Traceback" not in done.stderr
    spool.close(5.0)


def test_no_spool_is_one_line(tmp_path: Path) -> None:
    done = _spool("status", "--path", str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "holds no spool" in done.stderr
    assert "Traceback" not in done.stderr
