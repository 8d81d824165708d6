"""An output that drives a line, alone: how wide its pulses are, and how long after capture they begin.

The parts come decided, ten milliseconds after their capture; the output is the real one, on a thread of its own, on a simulated chip
that writes down when it was driven.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

from benchmarks.inspections import make_inspection
from benchmarks.line_site import quantiles, read_levels
from edge_agent.agent.lanes import Lanes
from edge_agent.agent.stations import LaneStations
from edge_agent.clock import SystemClock
from edge_agent.outputs import Outputs, Part
from edge_agent.outputs.gpio import GpioOutputSettings
from edge_agent.outputs.settings import OutputSettings

_LANE = "line"
_RATE = 20
_DECIDED_S = 0.01
_PULSE_MS, _ACT_AFTER_MS = 20.0, 30.0
# The first pulse's output is still being opened.
_START_S = 0.2


def settings() -> Dict[str, Any]:
    return {"per_s": _RATE, "pulse_ms": _PULSE_MS, "act_after_ms": _ACT_AFTER_MS}


def measure(pulses: int) -> Dict[str, Any]:
    clock = SystemClock()
    captured: List[int] = []
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        to = GpioOutputSettings(chip=f"sim:{scratch}", line=0, pulse_ms=_PULSE_MS)
        outputs = Outputs("benchmark", clock, Path(scratch) / "kept", LaneStations(Lanes(0.0)))
        outputs.apply({"gate": OutputSettings(to=to, act_after_ms=_ACT_AFTER_MS, max_late_ms=60_000)})
        begin_ns = clock.monotonic_ns() + round(_START_S * 1e9)
        for number in range(1, pulses + 1):
            _sleep_until(begin_ns + number * 1_000_000_000 // _RATE)
            part = Part(_LANE, clock.monotonic_ns(), clock.wall_ns(), number)
            captured.append(part.captured_ns)
            outputs.expect(part, 0.0)
            time.sleep(_DECIDED_S)
            outputs.offer(part, make_inspection(_LANE, number))
        time.sleep(_START_S)
        counts = outputs.status()["gate"]["counts"]
        outputs.close(1.0)
        levels = read_levels(Path(scratch) / "line0.out")
    # One whose verdict a machine that stood still kept from its time was acted on without: its pulse is as the others.
    if counts["applied"] != pulses:
        raise SystemExit(f"pulses were lost: {counts}")
    begun_ns = [at_ns for at_ns, level in levels if level]
    # One that came during the pulse before, as on a machine that stood still, has made that one wider.
    whole_ns = [end_ns - begin_ns for (begin_ns, on), (end_ns, level) in zip(levels, levels[1:]) if on and not level]
    widths = [width_ns / 1e6 - _PULSE_MS for width_ns in whole_ns]
    begun = [(begin_ns - captured_ns) / 1e6 - _ACT_AFTER_MS for captured_ns, begin_ns in zip(captured, begun_ns)]
    return {
        "pulses": len(begun),
        "joined": len(begun) - len(widths),
        "width_error_ms": quantiles([abs(error) for error in widths]),
        "act_after_error_ms": quantiles([abs(error) for error in begun]),
    }


def _sleep_until(at_ns: int) -> None:
    time.sleep(max(0.0, (at_ns - SystemClock().monotonic_ns()) / 1e9))
