"""Lanes, spool and publisher of one inspector: started, watched, drained and stopped in this order."""

from __future__ import annotations

import logging
import threading
import uuid
from typing import Any, Callable, Dict

from edge_agent.agent.settings import InspectorSettings
from edge_agent.cameras import FolderCamera
from edge_agent.clock import Clock
from edge_agent.greengrass.publisher import IotCore, Publisher
from edge_agent.lane import Lane, LaneContext
from edge_agent.metrics import AccountingSnapshot
from edge_agent.shared_memory import sweep
from edge_agent.spool import MemorySpool

_log = logging.getLogger(__name__)

_LOOK_S = 0.2
_DRAIN_LOOK_S = 0.02

# The classic nucleus kills 5 s after SIGTERM; both waits together stay below that.
_LANE_STOP_S = 2.5
_DRAIN_S = 1.5

# After the end of input nobody is about to kill us: the spool gets time to empty through an outage of the nucleus.
_DRAIN_AT_END_S = 30.0


class Inspector:
    """One run of the inspector.

    Args:
        settings: the whole configuration.
        thing: the thing's name.
        connect: gives a connection to AWS IoT Core; called again after one was lost.
        clock: time.
    """

    def __init__(
        self, settings: InspectorSettings, *, thing: str, connect: Callable[[], IotCore], clock: Clock
    ) -> None:
        self._clock = clock
        self._spool = MemorySpool(settings.publish.spool)
        self._publisher = Publisher(self._spool, connect, settings.publish.topic, settings.publish.qos, clock)
        context = LaneContext(
            socket=settings.edge_agent_socket, spool=self._spool, clock=clock, thing=thing, run=uuid.uuid4().hex
        )
        self._lanes = [
            Lane(name, FolderCamera(lane.camera, clock), lane, context) for name, lane in settings.lanes.items()
        ]

    def run(self, stop: threading.Event) -> bool:
        """Inspect until every camera is at its end or `stop` is set.

        Returns:
            Whether all is well: every inspection was delivered and no lane was stopped by a fault of ours. A publisher
            stopped by one ends the run at once: the nucleus starts a new one.
        """
        swept = sweep()
        if swept:
            _log.info("unlinked %d shared-memory segments that a killed inspector left", len(swept))
        self._publisher.start()
        for lane in self._lanes:
            lane.start()
        while not all(lane.finished() for lane in self._lanes):
            if self._clock.wait(stop, _LOOK_S) or self._publisher.faulty():
                break
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.close(_LANE_STOP_S)
        self._drain(stop)
        self._publisher.close(_DRAIN_S)
        # The spool is memory: what is still in it goes with this process.
        self._spool.expire_all("lost_at_exit")
        all_delivered = all(not snapshot.expired for snapshot in self.accounting().values())
        return all_delivered and not self._publisher.faulty() and not any(lane.faulty() for lane in self._lanes)

    def accounting(self) -> Dict[str, AccountingSnapshot]:
        """One consistent reading for each lane, by its name."""
        return {lane.name: lane.accounting.snapshot() for lane in self._lanes}

    def report(self) -> Dict[str, Any]:
        return {
            "accounting": {name: snapshot.as_dict() for name, snapshot in self.accounting().items()},
            "lanes": {lane.name: lane.status() for lane in self._lanes},
        }

    def _drain(self, stop: threading.Event) -> None:
        """Let the publisher empty the spool, for as long as there is time."""
        started_ns = self._clock.monotonic_ns()
        while any(snapshot.spooled for snapshot in self.accounting().values()):
            waited = (self._clock.monotonic_ns() - started_ns) / 1e9
            if self._publisher.faulty() or waited > (_DRAIN_S if stop.is_set() else _DRAIN_AT_END_S):
                return
            self._clock.sleep(_DRAIN_LOOK_S)
