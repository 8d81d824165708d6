"""Clocks for tests."""

from __future__ import annotations

from edge_agent.clock import SystemClock


class Steps(SystemClock):
    """A clock that does not wait: sleeping moves it on."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
