"""What must never happen, happens: one lane stops and says so, and nothing else does."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from support.outputs import NoStations
from support.packages import make_package

from edge_agent.cameras import Captured, FolderSettings, Reserve
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraNotConnectedError, EndOfInputError
from edge_agent.greengrass.publisher import Publisher, PublishSettings
from edge_agent.lane import Lane, LaneContext, LaneSettings
from edge_agent.outputs import Outputs
from edge_agent.server import ModelServer
from edge_agent.spool import Entry, Spool, SpoolSettings

MODEL = "com.example.Colours"


class _Camera:
    """Gives grey frames; `happen` is called with the number of each before it."""

    free_running = False

    def __init__(self, frames: int, happen: Callable[[int], None] = lambda _number: None) -> None:
        self._frames = frames
        self._happen = happen
        self._given = 0
        self.closed = 0

    def open(self) -> None:
        pass

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        self._happen(self._given)
        if self._given == self._frames:
            raise EndOfInputError("camera", "has no more frames")
        self._given += 1
        pixels = reserve(64, 64)
        pixels[...] = 128
        return Captured("memory", time.time_ns(), time.monotonic_ns(), pixels)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def lane_of(tmp_path: Path) -> Any:
    make_package(tmp_path / "models" / MODEL)
    server = ModelServer(tmp_path / "models", str(tmp_path / "server.sock"), threads=1)
    server.start()
    spool = Spool(tmp_path / "spool", SpoolSettings(), SystemClock())
    spool.start()
    outputs = Outputs("press-7", SystemClock(), tmp_path / "kept", NoStations())
    context = LaneContext(
        socket=server.socket, spool=spool, outputs=outputs, clock=SystemClock(), thing="press-7", run="0" * 32
    )
    settings = LaneSettings(model=MODEL, camera=FolderSettings(path="/"))
    yield lambda name, camera: Lane(name, camera, settings, context)
    spool.close(5.0)
    server.stop(1.0)


def _finish(*lanes: Lane) -> None:
    for lane in lanes:
        lane.start()
    deadline = time.monotonic() + 30
    while not all(lane.finished() for lane in lanes):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for lane in lanes:
        lane.close(5.0)


def test_a_fault_in_one_lane_stops_it_alone(lane_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    def fault(number: int) -> None:
        if number == 2:
            raise RuntimeError("a fault of ours")

    broken, sound = lane_of("broken", _Camera(5, fault)), lane_of("sound", _Camera(5))
    _finish(broken, sound)
    assert (broken.faulty(), sound.faulty()) == (True, False)
    assert sound.accounting.snapshot().inspected == 5
    books = broken.accounting.snapshot()
    assert books.balanced()
    assert books.captured == 2
    assert "a fault of ours" in caplog.text


def test_a_camera_that_goes_is_opened_again_and_said_once(lane_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    gone = iter([False, True, True, False, False, False])

    def unplugged(_number: int) -> None:
        if next(gone, False):
            raise CameraNotConnectedError("camera", "is unplugged")

    camera = _Camera(3, unplugged)
    lane = lane_of("line-1", camera)
    _finish(lane)
    assert lane.accounting.snapshot().inspected == 3
    assert camera.closed == 3
    assert caplog.text.count("is unplugged") == 1
    assert caplog.text.count("works again") == 1


def test_a_publisher_that_meets_a_fault_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def publish_to_iot_core(self, topic: str, payload: bytes, *, qos: int) -> None:
            raise RuntimeError("a fault of ours")

        def close(self) -> None:
            pass

    spool = Spool(tmp_path / "spool", SpoolSettings(), SystemClock())
    spool.start()
    accounting = spool.accounting("line-1")
    publisher = Publisher(spool, Broken, PublishSettings(topic="topic"), SystemClock())
    publisher.start()
    accounting.capture()
    accounting.inspect()
    spool.put(Entry("line-1", 1, anomalous=False, body=b"{}"))
    deadline = time.monotonic() + 10
    while not publisher.faulty():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    publisher.close(5.0)
    spool.close(5.0)
    assert "a fault of ours" in caplog.text
    assert accounting.snapshot().spooled == 1
    assert accounting.snapshot().balanced()
