"""A trigger at fixed times."""

from __future__ import annotations

import threading
from typing import Optional

from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.triggers.base import Trigger


class IntervalSettings(Settings, frozen=True, tag_field="type", tag="interval"):
    """Fixed times, from the start on.

    Attributes:
        seconds: from one trigger to the next.
    """

    seconds: float

    def __post_init__(self) -> None:
        if not 0.001 <= self.seconds <= 86400:
            raise ValueError("`seconds` must be 0.001 to 86400")


class IntervalTrigger:
    """Fixed times from `open` on: a late wake-up moves no later trigger. Times that passed in a pause are left out."""

    def __init__(self, settings: IntervalSettings, clock: Clock) -> None:
        self._period_ns = int(settings.seconds * 1e9)
        self._clock = clock
        self._due_ns = 0
        self._never = threading.Event()

    def open(self) -> None:
        self._due_ns = self._clock.monotonic_ns() + self._period_ns

    def wait(self, timeout: float) -> Optional[Trigger]:
        left = (self._due_ns - self._clock.monotonic_ns()) / 1e9
        if left > timeout:
            self._clock.wait(self._never, timeout)
            return None
        if left > 0:
            self._clock.wait(self._never, left)
        due = self._due_ns
        behind = max(0, self._clock.monotonic_ns() - due) // self._period_ns
        self._due_ns += self._period_ns * (1 + behind)
        return Trigger("interval", due + self._period_ns * behind)

    def close(self) -> None:
        """Nothing to let go of."""
