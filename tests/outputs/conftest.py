"""Peers of every kind, and outputs as an inspector would make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Type

import pytest
from support.outputs import PEERS, THING, NoStations, Peer
from support.waiting import until

from edge_agent.agent import read_settings
from edge_agent.clock import SystemClock
from edge_agent.outputs import Outputs, OutputSettings
from edge_agent.outputs.base import OutputContext

LANES = {name: {"model": "m", "camera": {"type": "folder", "path": "/x"}} for name in ("a", "b")}


def read(**outputs: Dict[str, Any]) -> Dict[str, OutputSettings]:
    """Settings as an inspector's configuration has them."""
    return read_settings({"lanes": LANES, "outputs": outputs}, "inspector.yaml", thing=THING).outputs


def context(directory: Path) -> OutputContext:
    """What an output for the parts of lane `a` is made with."""
    return OutputContext("x", THING, SystemClock(), directory, ("a",), NoStations())


@pytest.fixture(params=PEERS, ids=lambda peer: peer.name)
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    kind: Type[Peer] = request.param
    if kind.missing():
        pytest.skip(f"not here: {kind.missing()}")
    made = kind(tmp_path)
    yield made
    made.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Outputs]]:
    """`start(name={...settings})` runs outputs; at the end the books of all balance and nothing waits."""
    running: List[Outputs] = []

    def run(**outputs: Dict[str, Any]) -> Outputs:
        made = Outputs(THING, SystemClock(), tmp_path / "kept", NoStations())
        made.apply(read(**outputs))
        running.append(made)
        return made

    yield run
    for outputs in running:
        outputs.close(10.0)
        assert "faulty" not in outputs.states().values()
        for status in outputs.status().values():
            assert status["counts"]["balanced"], status
            assert status["counts"]["waiting"] == 0, status


def working(outputs: Outputs, name: str = "x") -> Dict[str, Any]:
    """The status, once the output is connected and in its safe state."""
    until(lambda: outputs.states()[name] in ("safe", "working"))
    return outputs.status()[name]
