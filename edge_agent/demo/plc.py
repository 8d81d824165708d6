"""The demo's PLC: it triggers the inspector for each part, and sorts the parts by the results."""

from __future__ import annotations

import time
from typing import Any, Dict

from edge_agent.clock import SystemClock
from edge_agent.plc_simulator import PlcSettings, SimulatedPlc

# Parts of the demo wait for their turn in front of the camera, however slow the machine is.
_PATIENCE_S = 600.0
_SCAN_MS = 5.0
_POLL_MS = 5.0
_SETTLE_S = 5.0
_LOOK_S = 0.01


class PlcStation:
    """A simulated PLC in this process, and what an inspector's configuration says of it.

    Args:
        lane: the lane that it triggers.
    """

    def __init__(self, lane: str) -> None:
        self._lane = lane
        self._plc = SimulatedPlc(PlcSettings(scan_ms=_SCAN_MS, patience_s=_PATIENCE_S), SystemClock())

    def start(self) -> None:
        """On a free port of loopback."""
        self._plc.start()

    def output(self) -> Dict[str, Any]:
        """The output that shakes hands with it, once it has started."""
        to = {"type": "plc", "host": "127.0.0.1", "port": self._plc.port, "poll_ms": _POLL_MS}
        return {"to": to, "when": {"verdict": "anomalous"}, "lanes": [self._lane]}

    def part(self, number: int) -> None:
        self._plc.part(number)

    def settle(self) -> None:
        """Wait until every part was judged; a moment, where one never will be."""
        until = time.monotonic() + _SETTLE_S
        while self._plc.books()["awaited"] and time.monotonic() < until:
            time.sleep(_LOOK_S)

    def stop(self) -> None:
        self._plc.stop()

    def books(self) -> Dict[str, Any]:
        """What became of the parts (docs/plc.md)."""
        return self._plc.books()
