"""Lanes for the benchmarks: real ones, whose cameras copy frames from memory as a camera's driver does."""

from __future__ import annotations

import threading
from typing import Any, List, Optional, Sequence

import numpy as np

from edge_agent import sample
from edge_agent.agent.lanes import Lanes
from edge_agent.agent.stations import LaneStations
from edge_agent.cameras import Captured, FolderSettings, Reserve
from edge_agent.clock import SystemClock
from edge_agent.errors import EndOfInputError
from edge_agent.frame import Pixels
from edge_agent.lane import Lane, LaneContext, LaneSettings
from edge_agent.outputs import Outputs
from edge_agent.spool import Spool


class MemoryCamera:
    """Args:
    frames: RGB888, (height, width, 3); given by turns.
    count: the input ends after so many; None: never.
    gate: each frame is given when it is released once more; None: at once.
    rate: frames a second, whatever became of the ones before; 0: as fast as the lane takes them.
    begin_ns: monotonic clock of the first one, where there is a rate; None: when the camera is opened.

    Attributes:
        ended: to be set: the input is at its end.
        captured_ns: monotonic clock of each capture.
        due_ns: when each was due, where there is a rate.
    """

    free_running = False

    def __init__(
        self,
        frames: Sequence[Pixels],
        *,
        count: Optional[int] = None,
        gate: Optional[threading.Semaphore] = None,
        rate: float = 0.0,
        begin_ns: Optional[int] = None,
    ) -> None:
        self._frames = frames
        self._count = count
        self._gate = gate
        self._rate = rate
        self._begin_ns = begin_ns
        self._clock = SystemClock()
        self.ended = threading.Event()
        self.captured_ns: List[int] = []
        self.due_ns: List[int] = []

    def open(self) -> None:
        if self._begin_ns is None:
            self._begin_ns = self._clock.monotonic_ns()

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        given = len(self.captured_ns)
        if self.ended.is_set() or given == self._count:
            raise EndOfInputError("benchmark", "has no more frames")
        if self._rate and not self._is_time(given, timeout):
            return None
        if self._gate is not None and not self._gate.acquire(timeout=timeout):
            return None
        frame = self._frames[given % len(self._frames)]
        captured_at_ns, captured_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        pixels = reserve(frame.shape[0], frame.shape[1])
        np.copyto(pixels, frame)
        self.captured_ns.append(captured_ns)
        return Captured("memory", captured_at_ns, captured_ns, pixels)

    def close(self) -> None:
        pass

    def _is_time(self, given: int, timeout: float) -> bool:
        """Whether the next frame is due, now or within `timeout` seconds."""
        assert self._begin_ns is not None  # it is open
        due_ns = self._begin_ns + round(given * 1e9 / self._rate)
        wait_s = (due_ns - self._clock.monotonic_ns()) / 1e9
        if wait_s > 0:
            self.ended.wait(min(wait_s, timeout))
        if wait_s > timeout or self.ended.is_set():
            return False
        self.due_ns.append(due_ns)
        return True


def lane_context(socket: str, spool: Spool) -> LaneContext:
    """Of lanes without outputs that ask the Edge Agent at `socket`."""
    clock = SystemClock()
    outputs = Outputs("benchmark", clock, spool.directory / "kept", LaneStations(Lanes(0.0)))
    return LaneContext(socket=socket, spool=spool, outputs=outputs, clock=clock, thing="benchmark", run="0" * 32)


def memory_lane(name: str, camera: MemoryCamera, context: LaneContext, model: str = "", **settings: Any) -> Lane:
    """A lane of this camera, with the shipped model if no other is named, and more settings."""
    # The camera's own settings are not used: the camera is given.
    values = {"model": model or sample.MODEL_NAME, "camera": FolderSettings(path="/"), **settings}
    return Lane(name, camera, LaneSettings(**values), context)
