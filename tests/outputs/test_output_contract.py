"""What edge_agent/outputs/base.py promises, asked of every kind of output with its real peer."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from outputs.conftest import LANES, context, read, working
from support.outputs import PEERS, THING, Peer, inspection, part
from support.waiting import until

from edge_agent.agent import read_settings
from edge_agent.errors import ConfigError, OutputError, OutputTimeoutError
from edge_agent.outputs import Outputs
from edge_agent.outputs.base import Action, Output
from edge_agent.outputs.kinds import make_output


def _peers(**wanted: bool) -> pytest.MarkDecorator:
    """The test runs with those peers alone whose attributes are so."""
    kinds = [kind for kind in PEERS if all(getattr(kind, name) is value for name, value in wanted.items())]
    return pytest.mark.parametrize("peer", kinds, indirect=True, ids=lambda kind: kind.name)


# A call of an output whose peer is away or hangs is over by then, on a loaded machine.
_BOUND_S = 10.0


@pytest.fixture
def output(peer: Peer, tmp_path: Path) -> Any:
    settings = read(x={"to": peer.settings(), "lanes": ["a"]})["x"].to
    made = make_output(settings, context(tmp_path / "kept"))
    yield made
    made.close()


def _action(sequence: int = 1, *, on: bool = True, **others: Any) -> Action:
    return Action(part(sequence), on=on, due_ns=time.monotonic_ns(), inspection=inspection(sequence, **others))


def _undecided() -> Action:
    return Action(part(None), on=True, due_ns=time.monotonic_ns(), cause="missed_trigger", detail="busy")


def _open(output: Output) -> None:
    output.open()
    output.safe("start")
    output.ready()


def _apply(output: Output) -> None:
    """One action, and what is due by then: some say only there that they could not."""
    output.apply(_action())
    output.tick()


def _settle(output: Output) -> None:
    """Do what the runner does at `due_ns`: ends of pulses."""
    time.sleep(0.03)
    if output.due_ns() is not None:
        output.tick()


def test_the_peer_sees_every_action(peer: Peer, output: Output) -> None:
    peer.start()
    _open(output)
    before = peer.applied()
    output.apply(_action())
    _settle(output)
    output.apply(_undecided())
    until(lambda: peer.applied() == before + 2)


@_peers(has_state=True)
def test_it_is_safe_when_it_is_told_to_be(peer: Peer, output: Output) -> None:
    peer.start()
    output.open()
    output.safe("start")
    until(peer.is_safe)
    output.ready()
    output.apply(_action())
    _settle(output)
    until(lambda: not peer.is_safe())
    output.safe("stop")
    until(peer.is_safe)


@_peers(notices=True)
def test_without_its_peer_it_says_so(peer: Peer, output: Output) -> None:
    began = time.monotonic()
    with pytest.raises(OutputError) as caught:
        output.open()
    assert caught.value.subject
    assert caught.value.reason
    assert time.monotonic() - began < _BOUND_S


@_peers(notices=True)
def test_a_peer_that_goes_is_noticed_and_found_again(peer: Peer, output: Output) -> None:
    peer.start()
    _open(output)
    output.apply(_action())
    peer.stop()
    began = time.monotonic()

    def talk_on() -> None:
        # What was sent to a peer that has just gone may be taken for said; not what is said after that.
        for sequence in range(2, 20):
            output.apply(_action(sequence))
            _settle(output)

    with pytest.raises(OutputError):
        talk_on()
    assert time.monotonic() - began < _BOUND_S
    output.close()
    peer.start()
    _open(output)
    before = peer.applied()
    output.apply(_action(20))
    until(lambda: peer.applied() > before)


@_peers(notices=True, can_hang=True)
def test_a_peer_that_hangs_holds_it_for_its_time_alone(peer: Peer, output: Output) -> None:
    peer.start()
    _open(output)
    peer.hang()
    began = time.monotonic()
    with pytest.raises(OutputTimeoutError):
        _apply(output)
    output.close()
    assert time.monotonic() - began < _BOUND_S
    peer.resume()


def test_closing_is_always_right(peer: Peer, output: Output) -> None:
    output.close()
    peer.start()
    output.open()
    output.close()
    output.close()
    if peer.notices:
        with pytest.raises(OutputError):
            _apply(output)
    output.open()
    output.safe("start")


@_peers(notices=True)
def test_the_breaker_opens_and_closes_by_itself(peer: Peer, start: Callable[..., Outputs]) -> None:
    """Parts come all the time, and each is counted in one place."""
    peer.start()
    outputs = start(x={"to": peer.settings(), "lanes": ["a"]})
    working(outputs)
    ended = threading.Event()

    def offer() -> None:
        sequence = 0
        while not ended.wait(0.02):
            sequence += 1
            outputs.offer(part(sequence), inspection(sequence))

    offering = threading.Thread(target=offer)
    offering.start()
    try:
        until(lambda: outputs.status()["x"]["counts"]["applied"] > 2)
        failed_before = sum(outputs.status()["x"]["counts"]["failed"].values())
        peer.stop()
        status = until(lambda: (found := outputs.status()["x"])["state"] == "broken" and found)
        assert sum(status["counts"]["failed"].values()) - failed_before <= 3
        until(lambda: outputs.status()["x"]["counts"]["dropped"].get("broken", 0) > 2)
        applied = outputs.status()["x"]["counts"]["applied"]
        peer.start()
        until(lambda: outputs.status()["x"]["counts"]["applied"] > applied + 2)
        assert outputs.states()["x"] == "working"
        assert "safe_after_fault_ms" in outputs.status()["x"]
    finally:
        ended.set()
        offering.join()


@pytest.mark.parametrize("kind", PEERS, ids=lambda kind: kind.name)
def test_an_unknown_key_is_named(kind: Any, tmp_path: Path) -> None:
    settings: Dict[str, Any] = {**kind(tmp_path).settings(), "colour": "red"}
    with pytest.raises(ConfigError, match=r"inspector.yaml: outputs\.x\.to\.colour: is not a known key"):
        read(x={"to": settings, "lanes": ["a"]})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"type": "gpio", "chip": "", "line": 1}, "`chip`"),
        ({"type": "gpio", "chip": "sim:/x", "line": -1}, "`line`"),
        ({"type": "gpio", "chip": "sim:/x", "line": 1, "pulse_ms": 0}, "`pulse_ms`"),
        ({"type": "modbus", "host": "plc"}, "`coil` or `registers`"),
        ({"type": "modbus", "host": "plc", "coil": 70000}, "`coil`"),
        ({"type": "modbus", "host": "plc", "coil": 1, "timeout_s": 0}, "`timeout_s`"),
        ({"type": "plc", "host": "plc", "commands": 30}, "must not overlap"),
        ({"type": "plc", "host": "plc", "status": 65530}, "`status`"),
        ({"type": "plc", "host": "plc", "poll_ms": 0}, "`poll_ms`"),
        ({"type": "plc", "host": "plc", "classes": ["a", "a"]}, "`classes`"),
        ({"type": "opcua", "url": "http://x", "nodes": {"state": "i=1"}}, "`url`"),
        ({"type": "opcua", "url": "opc.tcp://u:p@x", "nodes": {"state": "i=1"}}, "`url`"),
        ({"type": "opcua", "url": "opc.tcp://x", "nodes": {}}, "`nodes`"),
        ({"type": "opcua", "url": "opc.tcp://x", "nodes": {"colour": "i=1"}}, "to.nodes.colour"),
        ({"type": "opcua", "url": "opc.tcp://x", "nodes": {"state": "i=1"}, "cert_file": "/x"}, "go together"),
        ({"type": "opcua", "url": "opc.tcp://x", "nodes": {"state": "i=1"}, "security": "sign"}, "go together"),
        ({"type": "opcua", "url": "opc.tcp://x", "nodes": {"state": "i=1"}, "username": "u"}, "needs `security`"),
        ({"type": "mqtt", "host": ""}, "`host`"),
        ({"type": "mqtt", "host": "h", "ca_file": "/x"}, "need `tls`"),
        ({"type": "mqtt", "host": "h", "topic": "a/#"}, "topic"),
        ({"type": "webhook", "url": "ftp://x"}, "`url`"),
        ({"type": "webhook", "url": "https://u:p@x/"}, "password"),
        ({"type": "pubsub", "topic": "edge-agent/{thing}/commands"}, "topic"),
        ({"type": "jsonl", "path": "relative"}, "`path`"),
        ({"type": "carrier-pigeon"}, "carrier-pigeon"),
    ],
)
def test_settings_that_cannot_be_right(settings: Dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(x={"to": settings, "lanes": ["a"]})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("lane", "output", "words"),
    [
        ({}, {"lanes": ["a", "b"]}, "one lane"),
        ({}, {"lanes": []}, "one lane"),
        ({}, {"undecided": "skip"}, "`undecided`"),
        ({"trigger": {"type": "plc"}}, {"lanes": ["b"]}, r"lanes\.a\.trigger: is a PLC's, and 0 outputs"),
    ],
)
def test_a_plc_has_one_lane_and_tells_of_every_part(lane: Dict[str, Any], output: Dict[str, Any], words: str) -> None:
    lanes = {"a": {**LANES["a"], **lane}, "b": LANES["b"]}
    station = {"to": {"type": "plc", "host": "plc"}, "lanes": ["a"], **output}
    with pytest.raises(ConfigError, match=words):
        read_settings({"lanes": lanes, "outputs": {"station": station}}, "inspector.yaml", thing=THING)
