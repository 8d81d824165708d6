"""Bringing a model to RUNNING by the client rules of contract section 8."""

from __future__ import annotations

import threading

from edge_agent.clock import Clock
from edge_agent.detector.client import EdgeAgentClient, ModelState
from edge_agent.errors import DetectorTimeoutError, ModelFailedError, ModelNotRunningError

_POLL_S = 0.1


def ensure_running(
    client: EdgeAgentClient, model: str, *, timeout_s: float, clock: Clock, stop: threading.Event
) -> ModelState:
    """Wait until the model is RUNNING; start it where it is STOPPED, and once where it is FAILED.

    STOPPING and STARTING are waited out. Every call has the client's deadline, all of them together `timeout_s`.

    Raises:
        ModelFailedError: FAILED, and FAILED again after one start; the reason carries the agent's status message.
        DetectorTimeoutError: not RUNNING in time, or `stop` was set.
        DetectorError: what a call raised.
    """
    deadline = clock.monotonic_ns() + int(timeout_s * 1e9)
    restarted = False
    while True:
        state = client.describe(model)
        if state.status == "RUNNING":
            return state
        if state.status == "FAILED":
            if restarted:
                raise ModelFailedError(model, f"failed to start ({state.message})", "See the Edge Agent's log.")
            restarted = True
        if state.status in ("STOPPED", "FAILED"):
            _start(client, model)
        if clock.monotonic_ns() >= deadline:
            raise DetectorTimeoutError(model, f"is {state.status}, not RUNNING, after {timeout_s:g} s")
        if clock.wait(stop, _POLL_S):
            raise DetectorTimeoutError(model, f"is {state.status}; the wait for RUNNING was ended")


def _start(client: EdgeAgentClient, model: str) -> None:
    try:
        client.start(model)
    except ModelNotRunningError:
        # Another client was quicker; what matters is what DescribeModel says next.
        return
