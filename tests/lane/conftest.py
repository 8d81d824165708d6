"""Lanes on a real model server."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional

import pytest
from support.outputs import NoStations
from support.packages import make_package

from edge_agent.cameras import Camera, Captured, FolderSettings, Reserve
from edge_agent.clock import SystemClock
from edge_agent.errors import EndOfInputError
from edge_agent.lane import Lane, LaneContext, LaneSettings
from edge_agent.outputs import Outputs
from edge_agent.server import ModelServer
from edge_agent.spool import Spool, SpoolSettings

MODEL = "com.example.Colours"


class GatedCamera:
    """Gives one frame for each `allow`; ends at `end`. What it shows is the number of the frame."""

    def __init__(self, *, free_running: bool = False) -> None:
        self.free_running = free_running
        self.opened = 0
        self.happen: Callable[[], None] = lambda: None
        self._allowed = threading.Semaphore(0)
        self._ended = threading.Event()
        self._given = 0

    def allow(self, frames: int = 1) -> None:
        for _ in range(frames):
            self._allowed.release()

    def end(self) -> None:
        """After the frames that are allowed."""
        self._ended.set()

    def open(self) -> None:
        self.opened += 1

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        self.happen()
        if not self._allowed.acquire(timeout=min(timeout, 0.02)):
            if self._ended.is_set():
                raise EndOfInputError("camera", "has no more frames")
            return None
        self._given += 1
        pixels = reserve(64, 64)
        pixels[...] = self._given % 256
        return Captured(f"frame {self._given}", time.time_ns(), time.monotonic_ns(), pixels)

    def close(self) -> None:
        pass


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", SpoolSettings(), SystemClock())
    made.start()
    yield made
    made.close(5.0)


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[Outputs]:
    """None, until a test has some."""
    made = Outputs("press-7", SystemClock(), tmp_path / "kept", NoStations())
    yield made
    made.close(5.0)


@pytest.fixture
def start_lane(tmp_path: Path, spool: Spool, outputs: Outputs) -> Iterator[Callable[..., Lane]]:
    """`start_lane(camera, name="a", **settings)` gives a lane that runs on a model that answers at once."""
    make_package(tmp_path / "models" / MODEL)
    server = ModelServer(tmp_path / "models", str(tmp_path / "server.sock"), threads=1)
    server.start()
    context = LaneContext(
        socket=server.socket, spool=spool, outputs=outputs, clock=SystemClock(), thing="press-7", run="0" * 32
    )
    lanes: List[Lane] = []

    def start(camera: Camera, name: str = "a", **settings: Any) -> Lane:
        lane = Lane(name, camera, LaneSettings(model=MODEL, camera=FolderSettings(path="/"), **settings), context)
        lanes.append(lane)
        lane.start()
        return lane

    yield start
    for lane in lanes:
        lane.close(5.0)
    server.stop(1.0)
    assert all(lane.accounting.snapshot().balanced() for lane in lanes)
