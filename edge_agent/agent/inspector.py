"""Lanes, spool and publisher of one inspector: started, watched, drained and stopped in this order."""

from __future__ import annotations

import logging
import threading
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from edge_agent.agent.settings import InspectorSettings
from edge_agent.cameras import FolderCamera
from edge_agent.clock import Clock
from edge_agent.greengrass.publisher import IotCore, Publisher
from edge_agent.lane import Lane, LaneContext
from edge_agent.metrics import AccountingSnapshot
from edge_agent.shared_memory import sweep
from edge_agent.spool import Spool, spool_directory

_log = logging.getLogger(__name__)

_LOOK_S = 0.2
_DRAIN_LOOK_S = 0.02

# The classic nucleus kills 5 s after SIGTERM; all waits together stay below that.
_LANE_STOP_S = 2.5
_DRAIN_S = 1.0
_CLOSE_S = 0.5

# After the end of input nobody is about to kill us: the spool gets time to empty through an outage of the nucleus.
_DRAIN_AT_END_S = 30.0


class Inspector:
    """One run of the inspector.

    Args:
        settings: the whole configuration.
        thing: the thing's name.
        connect: gives a connection to AWS IoT Core; called again after one was lost.
        clock: time.
        config_file: where the settings are from, if from a file.
    """

    def __init__(
        self,
        settings: InspectorSettings,
        *,
        thing: str,
        connect: Callable[[], IotCore],
        clock: Clock,
        config_file: Optional[Path] = None,
    ) -> None:
        self._clock = clock
        self._spool = Spool(spool_directory(settings.spool, config_file), settings.spool, clock)
        self._publisher = Publisher(self._spool, connect, settings.publish, clock)
        context = LaneContext(
            socket=settings.edge_agent_socket, spool=self._spool, clock=clock, thing=thing, run=uuid.uuid4().hex
        )
        self._lanes = [
            Lane(name, FolderCamera(lane.camera, clock), lane, context) for name, lane in settings.lanes.items()
        ]

    def run(self, stop: threading.Event) -> bool:
        """Inspect until every camera is at its end or `stop` is set.

        Returns:
            Whether all is well: no inspection was lost and nothing was stopped by a fault of ours. A publisher or spool
            stopped by one ends the run at once: the nucleus starts a new one. What is not delivered stays in the spool.
        """
        swept = sweep()
        if swept:
            _log.info("unlinked %d shared-memory segments that a killed inspector left", len(swept))
        self._spool.start()
        self._publisher.start()
        for lane in self._lanes:
            lane.start()
        while not all(lane.finished() for lane in self._lanes):
            if self._clock.wait(stop, _LOOK_S) or self._faulty():
                break
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.close(_LANE_STOP_S)
        self._drain(stop)
        self._publisher.close(_CLOSE_S)
        self._spool.close(_CLOSE_S)
        snapshots = self.accounting().values()
        waiting = sum(snapshot.spooled for snapshot in snapshots)
        if waiting:
            _log.warning("%d inspections wait in the spool for the next run", waiting)
        none_lost = all(not snapshot.expired for snapshot in snapshots)
        return none_lost and not self._faulty() and not any(lane.faulty() for lane in self._lanes)

    def accounting(self) -> Dict[str, AccountingSnapshot]:
        """One consistent reading for each lane, by its name; also for lanes that only an earlier run had."""
        return {name: accounting.snapshot() for name, accounting in self._spool.accountings().items()}

    def report(self) -> Dict[str, Any]:
        return {
            "accounting": {name: snapshot.as_dict() for name, snapshot in self.accounting().items()},
            "lanes": {lane.name: lane.status() for lane in self._lanes},
            "spool": self._spool.status(),
        }

    def _faulty(self) -> bool:
        return self._publisher.faulty() or self._spool.faulty()

    def _drain(self, stop: threading.Event) -> None:
        """Let the publisher empty the spool, for as long as there is time."""
        started_ns = self._clock.monotonic_ns()
        while any(snapshot.spooled for snapshot in self.accounting().values()):
            waited = (self._clock.monotonic_ns() - started_ns) / 1e9
            if self._faulty() or waited > (_DRAIN_S if stop.is_set() else _DRAIN_AT_END_S):
                return
            self._clock.sleep(_DRAIN_LOOK_S)
