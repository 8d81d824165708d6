"""The lane's thread for triggers: from a source that waits for them to the gate."""

from __future__ import annotations

import logging
import threading

from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.errors import TriggerError
from edge_agent.lane.gate import TriggerGate
from edge_agent.outage import Outage
from edge_agent.triggers import TriggerSource

_log = logging.getLogger(__name__)

_LOOK_S = 0.2


class TriggerLoop:
    """Opens the source again for ever, with back-off; ends when `stop` is set."""

    def __init__(
        self, lane: str, source: TriggerSource, gate: TriggerGate, clock: Clock, stop: threading.Event
    ) -> None:
        self._source = source
        self._gate = gate
        self._clock = clock
        self._stop = stop
        self._backoff = Backoff()
        self._outage = Outage(_log, f"lane {lane}: trigger", lane=lane)

    def run(self) -> None:
        while not self._stop.is_set():
            try:
                self._source.open()
                self._outage.over()
                self._wait_until_gone()
            except TriggerError as error:
                self._outage.report(error)
                self._clock.wait(self._stop, self._backoff.next())
            finally:
                self._source.close()

    def _wait_until_gone(self) -> None:
        while not self._stop.is_set():
            trigger = self._source.wait(_LOOK_S)
            if trigger is not None:
                self._backoff.reset()
                self._gate.fire(trigger)
