"""A signal with two levels: pulsed, or held until the rule is not met any more."""

from __future__ import annotations

from typing import Callable, Literal, Optional

from edge_agent.clock import Clock

#: pulse   active for `pulse_ms`; one more action meanwhile makes it longer
#: latch   active until a part is judged that does not meet the rule
Mode = Literal["pulse", "latch"]

#: The level of the safe state; `hold` leaves it as it is.
SafeLevel = Literal["active", "inactive", "hold"]

MAX_PULSE_MS = 60_000


def pulse_problem(pulse_ms: float) -> Optional[str]:
    """What is wrong with the width of a pulse; None: nothing."""
    return None if 0.1 <= pulse_ms <= MAX_PULSE_MS else f"`pulse_ms` must be 0.1 to {MAX_PULSE_MS}"


class Level:
    """Args:
    drive: sets it active or inactive; its errors pass through.
    mode, pulse_ms, safe: as the settings have them.
    clock: time.
    """

    def __init__(
        self, drive: Callable[[bool], None], mode: Mode, pulse_ms: float, safe: SafeLevel, clock: Clock
    ) -> None:
        self._drive = drive
        self._pulses = mode == "pulse"
        self._pulse_ns = round(pulse_ms * 1e6)
        self._safe = safe
        self._clock = clock
        # What a pulse ends at: in the safe state its level, else inactive.
        self._rest = False
        self._ends_ns: Optional[int] = None

    @property
    def ends_ns(self) -> Optional[int]:
        """When the pulse ends."""
        return self._ends_ns

    def apply(self, *, on: bool) -> None:
        now_ns = self._clock.monotonic_ns()
        self._drive(on or self._rest)
        if self._pulses and on:
            self._ends_ns = now_ns + self._pulse_ns

    def tick(self) -> None:
        """End the pulse where it is time to."""
        if self._ends_ns is not None and self._clock.monotonic_ns() >= self._ends_ns:
            self._ends_ns = None
            self._drive(self._rest)

    def make_safe(self) -> None:
        if self._safe == "hold":
            return
        self._ends_ns = None
        self._rest = self._safe == "active"
        self._drive(self._rest)

    def ready(self) -> None:
        if self._rest:
            self._rest = False
            self._drive(self._rest)
