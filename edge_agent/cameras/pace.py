"""Frames that are there before their time: waiting for it, within what one call may take."""

from __future__ import annotations

from edge_agent.clock import Clock


def wait_until(clock: Clock, due_ns: int, timeout: float) -> bool:
    """Let time pass until the monotonic clock shows `due_ns`, at most `timeout` seconds; true when it does."""
    left = (due_ns - clock.monotonic_ns()) / 1e9
    if left > 0:
        clock.sleep(min(left, timeout))
    return left <= timeout
