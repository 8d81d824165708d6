"""When the simulated camera takes an image: by itself, for each software trigger, for each edge of its line."""

from __future__ import annotations

from collections import deque
from typing import Deque, Optional

from edge_agent.clock import Clock
from edge_agent.gige_simulator.registers import Registers


class Acquisition:
    """Used under the camera's lock.

    Attributes:
        active: whether it was started and not stopped.
    """

    def __init__(self, registers: Registers, clock: Clock) -> None:
        self.active = False
        self._registers = registers
        self._clock = clock
        self._taken = 0
        self._line = False
        self._next_ns = 0
        # When the images that were asked for are due.
        self._asked: Deque[int] = deque()

    def written(self, feature: str) -> None:
        """A controller wrote this feature."""
        if feature == "AcquisitionStart":
            self.active = True
            self._taken = 0
            self._asked.clear()
            self._next_ns = self._clock.monotonic_ns()
        elif feature == "AcquisitionStop":
            self.active = False
        elif feature == "TriggerSoftware":
            self._trigger("Software")

    def set_line(self, level: bool) -> None:  # noqa: FBT001 - a level is a boolean
        """An edge of the line is a trigger where the controller set it so."""
        if level == self._line:
            return
        self._line = level
        edge = "RisingEdge" if level else "FallingEdge"
        if self._registers.entry("TriggerActivation") in (edge, "AnyEdge"):
            self._trigger("Line1")

    def wait_s(self) -> Optional[float]:
        """Seconds until an image is due; none while nothing asks for one."""
        if not self.active:
            return None
        if self._is_free():
            due_ns = self._next_ns
        elif self._asked:
            due_ns = self._asked[0]
        else:
            return None
        return max(0.0, (due_ns - self._clock.monotonic_ns()) / 1e9)

    def take(self) -> int:
        """Take the image that is due; its number since the start, from 0."""
        if self._is_free():
            period_ns = int(1e9 / self._registers.number("AcquisitionFrameRate"))
            # One that is late does not make the next ones hurry.
            self._next_ns = max(self._next_ns + period_ns, self._clock.monotonic_ns())
        else:
            self._asked.popleft()
        self._taken += 1
        return self._taken - 1

    def _is_free(self) -> bool:
        return self._registers.entry("TriggerMode") == "Off"

    def _trigger(self, source: str) -> None:
        if self.active and not self._is_free() and self._registers.entry("TriggerSource") == source:
            delay_ns = int(self._registers.number("TriggerDelay") * 1000)
            self._asked.append(self._clock.monotonic_ns() + delay_ns)
