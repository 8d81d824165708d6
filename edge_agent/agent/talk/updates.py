"""Updates of this component that a deployment announces: put off while a part is inspected or the line says so."""

from __future__ import annotations

import logging
import threading
from typing import Callable, Dict, Optional

from edge_agent.agent.talk_settings import UpdateSettings
from edge_agent.clock import Clock
from edge_agent.errors import IpcError
from edge_agent.greengrass.ipc import Closable, IpcClient
from edge_agent.greengrass.session import NucleusSession

_log = logging.getLogger(__name__)

# Deployments whose beginning is remembered: one waits at a time, unless it was cancelled.
_REMEMBER = 16


class UpdateHold:
    """The line's word that updates have to wait. Safe to use from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until_ns: Optional[int] = None

    def hold(self, seconds: float) -> None:
        with self._lock:
            self._until_ns = self._clock.monotonic_ns() + round(seconds * 1e9)

    def release(self) -> None:
        with self._lock:
            self._until_ns = None

    def held(self) -> bool:
        with self._lock:
            return self._until_ns is not None and self._clock.monotonic_ns() < self._until_ns


class UpdateGuard:
    """Answers each announcement at once: later, or now.

    Args:
        busy: whether a part is being inspected.
        hold: the line's word.
        settings: gives those in force.
        clock: time.
    """

    def __init__(
        self, busy: Callable[[], bool], hold: UpdateHold, settings: Callable[[], UpdateSettings], clock: Clock
    ) -> None:
        self._busy = busy
        self._hold = hold
        self._settings = settings
        self._clock = clock
        self._first_ns: Dict[str, int] = {}

    def subscribe(self, session: NucleusSession) -> None:
        session.subscribe("announced updates", self._listen, optional=True)

    def _listen(self, client: IpcClient) -> Closable:
        def answer(deployment: str) -> None:
            reason = self._reason(deployment)
            wait_ms = 0 if reason is None else round(self._settings().recheck_s * 1000)
            try:
                client.defer_component_update(deployment, recheck_ms=wait_ms, reason=reason or "")
            except IpcError as error:
                _log.warning("the answer about the update by %s did not arrive: %s", deployment, error)

        return client.subscribe_to_component_updates(answer)

    def _reason(self, deployment: str) -> Optional[str]:
        """Why the update has to wait; None where it may come."""
        now_ns = self._clock.monotonic_ns()
        begins = deployment not in self._first_ns
        first_ns = self._first_ns.setdefault(deployment, now_ns)
        while len(self._first_ns) > _REMEMBER:
            del self._first_ns[next(iter(self._first_ns))]
        reason = "the line holds updates" if self._hold.held() else "a part is being inspected" if self._busy() else ""
        if not reason:
            _log.info("the update by deployment %s may come", deployment)
            return None
        if now_ns - first_ns >= self._settings().defer_at_most_s * 1e9:
            _log.warning("the update by deployment %s comes although %s: it waited long enough", deployment, reason)
            return None
        if begins:
            _log.info("the update by deployment %s has to wait: %s", deployment, reason)
        return reason
