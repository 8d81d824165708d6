"""Lanes, spool and publisher of one inspector: started, watched, drained and stopped in this order."""

from __future__ import annotations

import logging
import threading
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import msgspec

from edge_agent.agent.lanes import Lanes
from edge_agent.agent.settings import InspectorSettings
from edge_agent.agent.stations import LaneStations
from edge_agent.cameras import Camera, CameraSettings, make_camera
from edge_agent.clock import Clock
from edge_agent.config import convert, join
from edge_agent.greengrass.publisher import IotCore, Publisher
from edge_agent.lane import Lane, LaneContext, LaneSettings, Observations, Observed
from edge_agent.metrics import AccountingSnapshot
from edge_agent.outputs import Outputs
from edge_agent.page import Albums
from edge_agent.recorder import Label, Recorder
from edge_agent.shared_memory import sweep
from edge_agent.spool import Spool, spool_directory

_log = logging.getLogger(__name__)

_LOOK_S = 0.2
_DRAIN_LOOK_S = 0.02

# A publisher that is replaced may be in the middle of a call, which ends by itself after ten.
_PUBLISHER_S = 15.0

# The classic nucleus kills 5 s after SIGTERM; all waits together stay below that.
_LANE_STOP_S = 2.5
_DRAIN_S = 1.0
_CLOSE_S = 0.5
_OUTPUTS_S = 0.3
_RECORDER_S = 0.1

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
        cameras: gives the camera of a lane's settings, not opened yet.
    """

    def __init__(
        self,
        settings: InspectorSettings,
        *,
        thing: str,
        connect: Callable[[], IotCore],
        clock: Clock,
        config_file: Optional[Path] = None,
        cameras: Callable[[CameraSettings, Clock], Camera] = make_camera,
    ) -> None:
        self._clock = clock
        self._cameras = cameras
        self._connect = connect
        self._thing = thing
        self._run_id = uuid.uuid4().hex
        self._settings = settings
        self._applying = threading.Lock()
        self._spool = Spool(spool_directory(settings.spool, config_file), settings.spool, clock)
        self._publisher = Publisher(self._spool, connect, settings.publish, clock)
        self._lanes = Lanes(_LANE_STOP_S)
        self._outputs = Outputs(thing, clock, Path(f"{self._spool.directory}-output"), LaneStations(self._lanes))
        self._observations = Observations()
        #: What the live page shows of the lanes.
        self.albums = Albums(clock)
        #: Images that are kept; also those that people review.
        self.recorder = Recorder(clock)
        for name in settings.lanes:
            self._spool.accounting(name)  # books are there before the first frame is

    @property
    def settings(self) -> InspectorSettings:
        """The configuration that is in force."""
        return self._settings

    def run(self, stop: threading.Event) -> bool:
        """Inspect until every camera is at its end or `stop` is set.

        Returns:
            Whether all is well: no inspection was lost and nothing was stopped by a fault of ours. A publisher or spool
            stopped by one ends the run at once: the nucleus starts a new one. What is not delivered stays in the spool.
            At the end every output is in its safe state.
        """
        swept = sweep()
        if swept:
            _log.info("unlinked %d shared-memory segments that a killed inspector left", len(swept))
        self._spool.start()
        self._publisher.start()
        self._outputs.apply(self._settings.outputs)
        self.recorder.apply(self._settings.recorder)
        self._lanes.apply(self._settings.lanes, self._make_lane)
        while not self._lanes.finished():
            if self._clock.wait(stop, _LOOK_S) or self._faulty():
                break
        self._lanes.stop()
        self._outputs.finish(_DRAIN_S if stop.is_set() else _DRAIN_AT_END_S)
        self.recorder.finish()
        self._drain(stop)
        self._outputs.close(_OUTPUTS_S)
        self.recorder.close(_RECORDER_S)
        self._publisher.close(_CLOSE_S)
        self._spool.close(_CLOSE_S)
        snapshots = self.accounting().values()
        waiting = sum(snapshot.spooled for snapshot in snapshots)
        if waiting:
            _log.warning("%d inspections wait in the spool for the next run", waiting)
        return all(not snapshot.expired for snapshot in snapshots) and not self.faulty_parts()

    def lanes(self) -> Dict[str, Lane]:
        """By name; another mapping after a change of the configuration."""
        return self._lanes.now()

    def lane(self, name: str) -> Lane:
        """The lane of that name; ConfigError where there is none."""
        return self._lanes.one(name)

    def faulty_parts(self) -> List[str]:
        """What a fault of ours stopped; the log has the traceback."""
        return [
            *(["publisher"] if self._publisher.faulty() else []),
            *(["spool"] if self._spool.faulty() else []),
            *(["recorder"] if self.recorder.faulty() else []),
            *(["recorder upload"] if self.recorder.upload_faulty() else []),
            *(f"lane {name}" for name, lane in self.lanes().items() if lane.faulty()),
            *(f"output {name}" for name, state in self._outputs.states().items() if state == "faulty"),
        ]

    def busy(self) -> bool:
        """Whether a part is being inspected."""
        return any(snapshot.in_flight for snapshot in self.accounting().values())

    def apply(self, settings: InspectorSettings) -> None:
        """Put another configuration into force, rebuilding only what it changes; returns when it is.

        `spool` is read once, at start: a change of it waits for the next one, and the log says so.
        """
        with self._applying:
            old, self._settings = self._settings, settings
            if settings.spool != old.spool:
                _log.warning("spool: the change takes effect at the next start")
            if settings.publish != old.publish:
                self._publisher.close(_PUBLISHER_S)
                self._publisher = Publisher(self._spool, self._connect, settings.publish, self._clock)
                self._publisher.start()
            other_agent = settings.edge_agent_socket != old.edge_agent_socket
            outputs = self._outputs.apply(settings.outputs)
            recorder = ["recorder"] if self.recorder.apply(settings.recorder) else []
            lanes = self._lanes.apply(settings.lanes, self._make_lane, all_anew=other_agent)
            changed = [f"lane {name}" for name in lanes] + [f"output {name}" for name in outputs] + recorder
            _log.info("configuration: in force; what changed: %s", ", ".join(changed) or "no lane and no output")

    def switch_model(self, lane: str, model: str) -> None:
        """Have a lane inspect with another model, until the configuration says otherwise."""
        self._change_lane(lane, model=model)

    def set_threshold(self, lane: str, threshold: Optional[float]) -> None:
        """Have a lane judge by another threshold, or by its model's own for None; the lane goes on meanwhile."""
        self._change_lane(lane, threshold=threshold)

    def record(self, lane: str, frames: int, label: Optional[Label]) -> int:
        """Have the next frames of a lane recorded; gives how many are asked for by now, ConfigError where none can be."""
        return self.recorder.ask(self.lane(lane).name, frames, label)

    def accounting(self) -> Dict[str, AccountingSnapshot]:
        """One consistent reading for each lane, by its name; also for lanes that only an earlier run had."""
        return {name: accounting.snapshot() for name, accounting in self._spool.accountings().items()}

    def observed(self) -> Dict[str, Observed]:
        """What the inspections of this run said, by lane."""
        return self._observations.read()

    def report(self) -> Dict[str, Any]:
        return {
            "accounting": {name: snapshot.as_dict() for name, snapshot in self.accounting().items()},
            "lanes": {name: lane.status() for name, lane in self.lanes().items()},
            "outputs": self._outputs.status(),
            "spool": self._spool.status(),
            "recorder": self.recorder.status(),
        }

    def _make_lane(self, name: str, settings: LaneSettings) -> Lane:
        context = LaneContext(
            socket=self._settings.edge_agent_socket,
            spool=self._spool,
            outputs=self._outputs,
            clock=self._clock,
            thing=self._thing,
            run=self._run_id,
            observations=self._observations,
            onlookers=lambda lane: [self.albums.of(lane), self.recorder],
        )
        return Lane(name, self._cameras(settings.camera, self._clock), settings, context)

    def _change_lane(self, name: str, **changes: Any) -> None:
        lane = self.lane(name)
        values = {**msgspec.to_builtins(lane.settings), **changes}
        changed = convert(values, LaneSettings, "command", join("lanes", name))
        now = self._settings
        self.apply(msgspec.structs.replace(now, lanes={**now.lanes, name: changed}))

    def _faulty(self) -> bool:
        return self._publisher.faulty() or self._spool.faulty()

    def _drain(self, stop: threading.Event) -> None:
        """Let the publisher empty the spool, outputs and recorder do what waits, for as long as there is time."""
        started_ns = self._clock.monotonic_ns()
        while (
            self._outputs.waiting()
            or self.recorder.waiting()
            or any(snapshot.spooled for snapshot in self.accounting().values())
        ):
            waited = (self._clock.monotonic_ns() - started_ns) / 1e9
            if self._faulty() or waited > (_DRAIN_S if stop.is_set() else _DRAIN_AT_END_S):
                return
            self._clock.sleep(_DRAIN_LOOK_S)
