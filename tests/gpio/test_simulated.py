"""The simulated chip: edges by a named pipe, levels into a file."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import List

import pytest

from edge_agent.errors import GpioError
from edge_agent.gpio import EdgeLine, open_chip


def _write(pipe: Path, levels: str) -> None:
    with pipe.open("w", encoding="ascii") as stream:
        stream.write(levels)


def _edges(line: EdgeLine) -> List[int]:
    edges = []
    while True:
        at_ns = line.next(0.05)
        if at_ns is None:
            return edges
        edges.append(at_ns)


@pytest.mark.parametrize(
    ("edge", "active_low", "levels", "expected"),
    [
        ("rising", False, "1010", 2),
        ("falling", False, "1010", 2),
        ("both", False, "1010", 4),
        ("both", False, "1111", 1),
        ("rising", True, "10", 1),
        ("rising", False, "0000", 0),
        ("rising", False, "x\n1\n", 1),
    ],
)
def test_edges(tmp_path: Path, *, edge: str, active_low: bool, levels: str, expected: int) -> None:
    chip = open_chip(f"sim:{tmp_path}")
    line = chip.edges(17, edge=edge, bias="as_is", active_low=active_low, debounce_us=0)
    before = time.monotonic_ns()
    _write(tmp_path / "line17", levels)
    edges = _edges(line)
    assert len(edges) == expected
    assert all(before <= at_ns <= time.monotonic_ns() for at_ns in edges)
    line.close()
    line.close()
    chip.close()


def test_output_is_driven_from_the_first_moment(tmp_path: Path) -> None:
    output = open_chip(f"sim:{tmp_path}").output(4, active_low=True, active=False)
    output.set(active=True)
    output.close()
    levels = [line.split()[1] for line in (tmp_path / "line4.out").read_text().splitlines()]
    assert levels == ["1", "0"]


def test_a_removed_directory_is_an_unplugged_chip(tmp_path: Path) -> None:
    directory = tmp_path / "chip"
    directory.mkdir()
    chip = open_chip(f"sim:{directory}")
    line = chip.edges(1, edge="both", bias="as_is", active_low=False, debounce_us=0)
    output = chip.output(2, active_low=False, active=False)
    shutil.rmtree(directory)
    with pytest.raises(GpioError, match="is gone"):
        line.next(0.01)
    with pytest.raises(GpioError, match="cannot be driven"):
        output.set(active=True)
    with pytest.raises(GpioError, match="is no directory"):
        open_chip(f"sim:{directory}")


def test_a_real_chip_that_is_not_there() -> None:
    pytest.importorskip("gpiod")
    with pytest.raises(GpioError, match=r"/dev/no-such-chip: cannot be opened"):
        open_chip("/dev/no-such-chip")
