"""What outputs hear of a running lane."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Tuple

import pytest
from lane.conftest import GatedCamera
from support.outputs import ChipPeer, FilePeer, put_up
from support.waiting import until

from edge_agent.agent import read_settings
from edge_agent.errors import CameraNotConnectedError
from edge_agent.lane import Lane
from edge_agent.outputs import Outputs
from edge_agent.triggers import MessageSettings, Trigger

_TRIGGERED = MessageSettings(source="local", topic="t")


@pytest.fixture
def tell(outputs: Outputs, tmp_path: Any) -> Any:
    """`tell(name={...})` gives the lanes outputs; `file` is the peer of one that writes a file."""
    with put_up(FilePeer, tmp_path) as file:

        def run(**settings: Dict[str, Any]) -> FilePeer:
            lanes = {"a": {"model": "m", "camera": {"type": "folder", "path": "/x"}}}
            told = {"file": {"to": file.settings(), "queue": 1000}, **settings}
            outputs.apply(read_settings({"lanes": lanes, "outputs": told}, "test", thing="press-7").outputs)
            until(lambda: set(outputs.states().values()) == {"safe"})
            return file

        yield run


def _undecided(file: FilePeer) -> List[Tuple[str, str]]:
    return [(line["undecided"], line["detail"]) for line in file.lines() if "undecided" in line]


def test_every_inspection_is_offered(start_lane: Callable[..., Lane], tell: Any, outputs: Outputs) -> None:
    file = tell()
    camera = GatedCamera()
    lane = start_lane(camera)
    camera.allow(20)
    camera.end()
    until(lane.finished)
    until(lambda: len(file.lines()) == 20)
    assert [line["sequence"] for line in file.lines()] == list(range(1, 21))
    counts = outputs.status()["file"]["counts"]
    assert (counts["offered"], counts["applied"]) == (20, 20)


def test_a_missed_trigger_is_announced(start_lane: Callable[..., Lane], tell: Any) -> None:
    file = tell()
    camera = GatedCamera()
    lane = start_lane(camera, trigger=_TRIGGERED, acquire_within_s=0.05)
    until(lambda: lane.status()["camera"] == "live")
    assert lane.trigger(Trigger("t", time.monotonic_ns(), "part-1"))
    assert not lane.trigger(Trigger("t", time.monotonic_ns(), "part-2"))
    until(lambda: _undecided(file) == [("missed_trigger", "busy")])
    assert file.lines()[0]["trigger_id"] == "part-2"
    lane.pause()
    until(lambda: _undecided(file)[1:] == [("missed_trigger", "paused")])
    assert file.lines()[1]["trigger_id"] == "part-1"


def test_a_frame_that_the_policy_drops_is_announced(
    start_lane: Callable[..., Lane], tell: Any, outputs: Outputs
) -> None:
    file = tell()
    camera = GatedCamera(free_running=True)
    lane = start_lane(camera, policy="latest")
    camera.allow(200)
    camera.end()
    until(lane.finished)
    books = lane.accounting.snapshot()
    until(lambda: outputs.status()["file"]["counts"]["offered"] == 200)
    assert outputs.status()["file"]["counts"]["undecided"].get("lost", 0) == books.dropped.get("replaced", 0)
    until(lambda: len(file.lines()) == 200)


def test_a_part_that_is_not_decided_in_time_takes_the_safe_way(
    start_lane: Callable[..., Lane], tell: Any, outputs: Outputs, tmp_path: Any
) -> None:
    """The gate rejects it at its time, and does not act on the verdict that comes later."""
    with put_up(ChipPeer, tmp_path) as chip:
        gate = {**chip.settings(), "safe": "inactive"}
        tell(gate={"to": gate, "when": {"classes": ["no such class"]}, "max_late_ms": 10_000})
        camera = GatedCamera()
        start_lane(camera, decide_by_ms=0.001)
        camera.allow(1)
        until(lambda: outputs.status()["gate"]["counts"]["undecided"] == {"late": 1})
        until(lambda: chip.applied() == 1)
        until(lambda: outputs.status()["file"]["counts"]["applied"] == 1)
        counts = outputs.status()["gate"]["counts"]
        assert (counts["offered"], counts["applied"]) == (1, 1)


def test_a_camera_that_goes_makes_outputs_safe(
    start_lane: Callable[..., Lane], tell: Any, outputs: Outputs, tmp_path: Any
) -> None:
    with put_up(ChipPeer, tmp_path) as chip:
        tell(gate={"to": chip.settings()})
        camera = GatedCamera()
        start_lane(camera)
        camera.allow(1)
        until(lambda: outputs.states()["gate"] == "working")
        until(lambda: not chip.is_safe())

        def go() -> None:
            raise CameraNotConnectedError("camera", "was unplugged")

        camera.happen = go
        until(lambda: outputs.states()["gate"] == "safe")
        assert chip.is_safe()
        assert "safe_after_fault_ms" in outputs.status()["gate"]
