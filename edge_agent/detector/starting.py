"""Bringing a model to RUNNING, and to STOPPED, by the client rules of contract section 8."""

from __future__ import annotations

import threading

from edge_agent.clock import Clock
from edge_agent.detector.client import EdgeAgentClient, ModelState
from edge_agent.errors import DetectorTimeoutError, ModelFailedError, ModelNotRunningError

_POLL_S = 0.1


def ensure_running(
    client: EdgeAgentClient,
    model: str,
    *,
    timeout_s: float,
    clock: Clock,
    stop: threading.Event,
    start_again: bool = True,
) -> ModelState:
    """Wait until the model is RUNNING; start it where it is STOPPED, and once where it is FAILED.

    STOPPING and STARTING are waited out. Every call has the client's deadline, all of them together `timeout_s`.

    Args:
        client: the agent.
        model: the model component's name.
        timeout_s: for all of it.
        clock: time.
        stop: ends the wait.
        start_again: also where it FAILED after a start from here.

    Raises:
        ModelFailedError: FAILED, and FAILED again after one start; the reason carries the agent's status message.
        DetectorTimeoutError: not RUNNING in time, or `stop` was set.
        DetectorError: what a call raised.
    """
    deadline = clock.monotonic_ns() + int(timeout_s * 1e9)
    may_restart = True
    while True:
        state = client.describe(model)
        if state.status == "RUNNING":
            return state
        if state.status == "FAILED":
            if not may_restart:
                raise ModelFailedError(model, f"failed to start ({state.message})", "See the Edge Agent's log.")
            may_restart = False
        if state.status in ("STOPPED", "FAILED"):
            _start(client, model)
            may_restart = may_restart and start_again
        if clock.monotonic_ns() >= deadline:
            raise DetectorTimeoutError(model, f"is {state.status}, not RUNNING, after {timeout_s:g} s")
        if clock.wait(stop, _POLL_S):
            raise DetectorTimeoutError(model, f"is {state.status}; the wait for RUNNING was ended")


def ensure_stopped(client: EdgeAgentClient, model: str, *, timeout_s: float, clock: Clock) -> ModelState:
    """Stop the model where it is not STOPPED, and wait until it is.

    Raises:
        ModelNotRunningError: it is neither RUNNING nor STOPPED, so that there is nothing to stop.
        DetectorTimeoutError: not STOPPED in time.
        DetectorError: what a call raised.
    """
    deadline = clock.monotonic_ns() + int(timeout_s * 1e9)
    try:
        client.stop(model)
    except ModelNotRunningError:
        if client.describe(model).status not in ("STOPPED", "STOPPING"):
            raise
    while True:
        state = client.describe(model)
        if state.status != "STOPPING":
            return state
        if clock.monotonic_ns() >= deadline:
            raise DetectorTimeoutError(model, f"is {state.status}, not STOPPED, after {timeout_s:g} s")
        clock.sleep(_POLL_S)


def _start(client: EdgeAgentClient, model: str) -> None:
    try:
        client.start(model)
    except ModelNotRunningError:
        # Another client was quicker; what matters is what DescribeModel says next.
        return
