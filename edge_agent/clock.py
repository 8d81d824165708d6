"""Time, injected. Durations and deadlines use `monotonic_ns`; `wall_ns` is data only (design: promise 5)."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    def monotonic_ns(self) -> int:
        """Nanoseconds that never step back; only differences mean something."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC, as the machine believes; may step."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until `event` is set or `seconds` have passed; true when it is set."""

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""


class SystemClock:
    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
