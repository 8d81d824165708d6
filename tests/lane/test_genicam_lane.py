"""Lanes with a GigE Vision camera: a trigger goes through to the sensor, a pulse on its line through to an inspection."""

from __future__ import annotations

import json
import time
from typing import Any, Callable, Dict, Iterator

import numpy as np
import pytest
from support import gige
from support.waiting import until

from edge_agent.cameras.genicam import GenicamCamera, GenicamSettings
from edge_agent.clock import SystemClock
from edge_agent.config import convert
from edge_agent.gige_simulator import SimulatedCamera
from edge_agent.lane import Lane
from edge_agent.spool import Spool
from edge_agent.triggers import MessageSettings, Trigger


@pytest.fixture
def simulator() -> Iterator[SimulatedCamera]:
    gige.skip_without_aravis()
    camera = gige.simulated([np.full((96, 128, 3), 90, np.uint8)], width=128, height=96)
    yield camera
    camera.stop()


def _camera(simulator: SimulatedCamera, **trigger: Any) -> GenicamCamera:
    values: Dict[str, Any] = {
        "device": simulator.settings.address,
        "network": {"packet_size": 1400},
        "trigger": trigger,
    }
    return GenicamCamera(convert(values, GenicamSettings, "test"), SystemClock())


def test_each_trigger_of_the_lane_is_one_image_of_the_sensor(
    start_lane: Callable[..., Lane], simulator: SimulatedCamera, spool: Spool
) -> None:
    lane = start_lane(_camera(simulator, mode="software"), trigger=MessageSettings(source="http"))
    until(lambda: lane.status()["camera"] == "live")
    ids = []
    for number in range(1, 4):
        trigger = Trigger("test", time.monotonic_ns())
        ids.append(trigger.id)
        assert lane.trigger(trigger)
        until(lambda: lane.accounting.snapshot().inspected == number)  # noqa: B023 - called at once
    until(lambda: lane.accounting.snapshot().spooled == len(ids))
    assert spool.flush(20.0)
    receipt = spool.take(1_000_000, len(ids), 5.0)
    assert receipt is not None
    assert [json.loads(body)["trigger_id"] for body in receipt.bodies] == ids
    assert simulator.counters()["images"] == 3


def test_each_pulse_on_the_camera_s_line_is_one_inspection(
    start_lane: Callable[..., Lane], simulator: SimulatedCamera
) -> None:
    lane = start_lane(_camera(simulator, mode="line", source="Line1"), silent_after_s=0.2)
    until(lambda: lane.status()["camera"] == "live")
    for number in range(1, 4):
        # Longer than a camera in free run may be silent: nothing came by, and that is no fault.
        time.sleep(0.3)
        simulator.set_line(True)
        simulator.set_line(False)
        until(lambda: lane.accounting.snapshot().inspected == number)  # noqa: B023 - called at once
    status = lane.status()
    assert status["camera"] == "live"
    assert status["transport"]["frames_missed"] == status["transport"]["frames_incomplete"] == 0
    assert simulator.counters()["images"] == 3
