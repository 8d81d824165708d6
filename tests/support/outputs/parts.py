"""Parts and inspections to act on, and waiting."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Optional

from edge_agent.inspection import Anomaly, Inspection, Timings
from edge_agent.outputs import Part
from edge_agent.triggers import Trigger

THING = "press-7"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def part(sequence: Optional[int] = 1, lane: str = "a", ago_ms: float = 0.0) -> Part:
    return Part(lane, time.monotonic_ns() - round(ago_ms * 1e6), time.time_ns(), sequence, "trigger-1")


def inspection(
    sequence: int = 1, *, anomalous: bool = True, confidence: float = 0.9, lane: str = "a", **areas: float
) -> Inspection:
    return Inspection(
        id=f"{sequence:032x}",
        run="0" * 32,
        thing=THING,
        camera=lane,
        sequence=sequence,
        captured_at_ns=time.time_ns(),
        model_component="com.example.Colours",
        model_version="1",
        is_anomalous=anomalous,
        confidence=confidence,
        anomalies=tuple(Anomaly(name, area, "#FF0000") for name, area in areas.items()),
        timings=Timings(1.0, 1.0, 1.0, 3.0),
        image_width=64,
        image_height=64,
        source="test",
    )


class NoStations:
    """No lane is there."""

    def ready(self, lane: str) -> bool:
        return False

    def inspecting(self, lane: str) -> bool:
        return False

    def fire(self, lane: str, trigger: Trigger) -> bool:
        return False
