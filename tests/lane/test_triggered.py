"""A lane that waits for triggers: one id from trigger to inspection, and every trigger in one counted place."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest
from lane.conftest import GatedCamera
from support.waiting import until

from edge_agent.errors import CameraNotConnectedError, ImageError, TriggerError
from edge_agent.lane import Lane
from edge_agent.spool import Spool
from edge_agent.triggers import GpioTriggerSettings, IntervalSettings, MessageSettings, Trigger

BY_HAND = MessageSettings(source="http")


def _trigger() -> Trigger:
    return Trigger("test", time.monotonic_ns())


def _inspections(spool: Spool) -> List[Any]:
    assert spool.flush(20.0)
    receipt = spool.take(1_000_000, 1_000, 0.0)
    assert receipt is not None
    receipt.delivered()
    return [json.loads(body) for body in receipt.bodies]


def _books(lane: Lane) -> Any:
    return lane.status()["triggers"]


def test_one_id_from_trigger_to_inspection(start_lane: Callable[..., Lane], spool: Spool) -> None:
    camera = GatedCamera()
    lane = start_lane(camera, trigger=BY_HAND)
    until(lambda: lane.status()["camera"] == "live")
    camera.allow(10)
    triggers = [_trigger() for _ in range(3)]
    for number, trigger in enumerate(triggers, 1):
        assert lane.trigger(trigger)
        until(lambda: lane.accounting.snapshot().inspected == number)  # noqa: B023 - called at once
    assert [inspection["trigger_id"] for inspection in _inspections(spool)] == [trigger.id for trigger in triggers]
    books = _books(lane)
    assert books["taken"] == 3
    assert books["balanced"]
    assert lane.accounting.snapshot().captured == 3


def test_a_busy_lane_misses_triggers_and_says_so(start_lane: Callable[..., Lane]) -> None:
    camera = GatedCamera()
    lane = start_lane(camera, trigger=BY_HAND, acquire_within_s=60)
    missed: List[Tuple[str, str]] = []
    lane.on_missed_trigger(lambda trigger, cause: missed.append((trigger.id, cause)))
    until(lambda: lane.trigger(_trigger()))  # it waits for its image from here on
    before = len(missed)
    second = _trigger()
    assert not lane.trigger(second)
    assert missed[before:] == [(second.id, "busy")]
    camera.allow()
    until(lambda: lane.accounting.snapshot().inspected == 1)
    books = _books(lane)
    assert books["missed"]["busy"] == 1
    assert books["balanced"]


def test_a_trigger_without_an_image_is_missed(start_lane: Callable[..., Lane]) -> None:
    lane = start_lane(GatedCamera(), trigger=BY_HAND, acquire_within_s=0.05)
    until(lambda: lane.trigger(_trigger()))
    until(lambda: _books(lane)["missed"].get("no_image") == 1)
    assert lane.accounting.snapshot().captured == 0


def test_a_camera_that_is_gone_misses_triggers(start_lane: Callable[..., Lane]) -> None:
    camera = GatedCamera()

    def gone() -> None:
        raise CameraNotConnectedError("camera", "is unplugged")

    camera.happen = gone
    lane = start_lane(camera, trigger=BY_HAND)
    until(lambda: not lane.trigger(_trigger()) and _books(lane)["missed"].get("camera", 0) > 0)
    assert _books(lane)["balanced"]


def test_a_bad_image_is_the_trigger_s_frame(start_lane: Callable[..., Lane]) -> None:
    camera = GatedCamera()
    lane = start_lane(camera, trigger=BY_HAND)

    def torn() -> None:
        camera.happen = lambda: None
        raise ImageError("image", "is torn")

    camera.happen = torn
    until(lambda: lane.trigger(_trigger()))
    until(lambda: lane.accounting.snapshot().failed == {"image": 1})
    assert _books(lane)["taken"] == 1


def test_a_free_running_camera_gives_the_frame_after_the_trigger(start_lane: Callable[..., Lane], spool: Spool) -> None:
    camera = GatedCamera(free_running=True)
    lane = start_lane(camera, trigger=BY_HAND)
    camera.allow(5)
    until(lambda: lane.status()["camera"] == "live")
    until(lambda: camera._given == 5)
    trigger = _trigger()
    assert lane.trigger(trigger)
    camera.allow(3)
    until(lambda: lane.accounting.snapshot().inspected == 1)
    until(lambda: camera._given == 8)
    assert lane.accounting.snapshot().captured == 1


def test_an_untriggered_lane_says_that_it_is_none(start_lane: Callable[..., Lane]) -> None:
    lane = start_lane(GatedCamera())
    with pytest.raises(TriggerError, match="lane a: is not triggered"):
        lane.trigger(_trigger())
    assert "triggers" not in lane.status()


def test_interval(start_lane: Callable[..., Lane]) -> None:
    camera = GatedCamera()
    camera.allow(3)
    camera.end()
    lane = start_lane(camera, trigger=IntervalSettings(seconds=0.02))
    until(lane.finished)
    assert lane.accounting.snapshot().inspected == 3
    books = _books(lane)
    assert books["balanced"]
    assert books["taken"] == 3


def test_gpio_from_wire_to_inspection(start_lane: Callable[..., Lane], tmp_path: Path) -> None:
    chip = tmp_path / "chip"
    chip.mkdir()
    camera = GatedCamera()
    lane = start_lane(camera, trigger=GpioTriggerSettings(chip=f"sim:{chip}", line=17))
    until((chip / "line17").exists)
    camera.allow(100)
    for number in range(1, 4):
        (chip / "line17").write_text("10")
        until(lambda: _books(lane)["received"] == number)  # noqa: B023 - called at once
    until(lambda: _books(lane)["pending"] == 0 and lane.accounting.snapshot().in_flight == 0)
    books = _books(lane)
    assert books["taken"] + sum(books["missed"].values()) == 3
    assert lane.accounting.snapshot().inspected == books["taken"]


def test_silent_cameras_are_connected_anew(start_lane: Callable[..., Lane], caplog: pytest.LogCaptureFixture) -> None:
    camera = GatedCamera(free_running=True)
    lane = start_lane(camera, silent_after_s=0.1)
    until(lambda: camera.opened >= 3)
    assert caplog.text.count("gives no frames") == 1
    camera.allow()
    until(lambda: lane.accounting.snapshot().inspected == 1)
    assert caplog.text.count("works again") == 1


def test_late_frames_are_counted(start_lane: Callable[..., Lane]) -> None:
    camera = GatedCamera()
    camera.allow(3)
    camera.end()
    lane = start_lane(camera, decide_by_ms=0.001)
    until(lane.finished)
    books = lane.accounting.snapshot()
    assert books.late == 3
    assert books.inspected == 3


def test_latest_shows_the_newest_part(start_lane: Callable[..., Lane], spool: Spool) -> None:
    inspecting, go_on = threading.Event(), threading.Event()
    put = spool.put

    def slow_put(entry: Any) -> None:
        inspecting.set()
        assert go_on.wait(20)
        put(entry)

    spool.put = slow_put  # type: ignore[method-assign] # a slow model for the first frame
    camera = GatedCamera()
    lane = start_lane(camera, policy="latest", buffer=2)
    camera.allow(1)
    assert inspecting.wait(20)
    camera.allow(9)
    until(lambda: lane.accounting.snapshot().captured == 10)
    until(lambda: lane.accounting.snapshot().dropped.get("replaced") == 7)
    go_on.set()
    camera.end()
    until(lane.finished)
    assert lane.accounting.snapshot().inspected == 3
