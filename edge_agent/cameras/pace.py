"""Frames that are there before their time: they wait for it."""

from __future__ import annotations

from typing import Optional

from edge_agent.clock import Clock


class Pace:
    """Keeps frames at their distance in time. One that is asked for late moves the later ones; none is left out."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # When the frame before was due.
        self._last_ns: Optional[int] = None

    def wait(self, distance_ns: int, timeout: float) -> bool:
        """Let time pass until a frame `distance_ns` after the one before is due; false after `timeout` seconds."""
        now_ns = self._clock.monotonic_ns()
        due_ns = now_ns if self._last_ns is None else self._last_ns + distance_ns
        left = (due_ns - now_ns) / 1e9
        if left > 0:
            self._clock.sleep(min(left, timeout))
            if left > timeout:
                return False
        self._last_ns = max(due_ns, self._clock.monotonic_ns() - distance_ns)
        return True
