"""One camera's path: its threads, a ring of frames, a buffer between capturing and inspecting, and the accounting."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Literal, Optional, Sequence, Tuple

from edge_agent.cameras import Camera, CountsTransport
from edge_agent.clock import Clock
from edge_agent.detector import EdgeAgentClient, ModelSession
from edge_agent.errors import TriggerError
from edge_agent.lane.buffer import FrameBuffer
from edge_agent.lane.capture import CaptureLoop, CapturePath
from edge_agent.lane.gate import TriggerGate
from edge_agent.lane.inspect import Identity, InspectLoop
from edge_agent.lane.observations import Observations
from edge_agent.lane.onlookers import Onlooker, Onlookers
from edge_agent.lane.parts import Parts
from edge_agent.lane.settings import LaneSettings
from edge_agent.lane.tap import Snapshot, Tap
from edge_agent.lane.trigger import TriggerLoop
from edge_agent.lane.watch import CameraWatch
from edge_agent.outputs import Outputs
from edge_agent.shared_memory import Ring
from edge_agent.spool import Spool
from edge_agent.triggers import ContinuousSettings, Trigger, make_trigger

_log = logging.getLogger(__name__)

# One frame being captured and one being inspected, beside those that wait.
_BUSY_SLOTS = 2

#: finished   its camera is at its end, or it was stopped
#: faulty     stopped by a fault of ours
LaneState = Literal["running", "paused", "finished", "faulty"]


@dataclass(frozen=True)
class LaneContext:
    """What the lanes of one agent share: the socket of the Edge Agent, the spool, the outputs, the clock, who and which run.

    Attributes:
        observations: where each lane notes what its inspections said.
        onlookers: who looks on at the lane of a name.
    """

    socket: str
    spool: Spool
    outputs: Outputs
    clock: Clock
    thing: str
    run: str
    observations: Observations = field(default_factory=Observations)
    onlookers: Callable[[str], Sequence[Onlooker]] = lambda _lane: ()


class Lane:
    """One lane.

    Args:
        name: the camera's id in every inspection.
        camera: where the frames come from.
        settings: of the lane.
        context: what it shares with the others.
    """

    def __init__(self, name: str, camera: Camera, settings: LaneSettings, context: LaneContext) -> None:
        self.name = name
        self._camera = camera
        self.accounting = context.spool.accounting(name)
        self._faulty = threading.Event()
        self._stop = threading.Event()
        self._captured_all = threading.Event()
        self._paused = threading.Event()
        self._tap = Tap()
        self._settings = settings
        self._policy = settings.policy
        self._parts = Parts(name, context.outputs, context.clock)
        self._buffer = FrameBuffer(settings.buffer, settings.policy, self.accounting, self._parts.lost)
        self._ring = Ring(settings.buffer + _BUSY_SLOTS)
        self._watch = CameraWatch(
            f"lane {name}",
            silent_after_s=settings.silent_after_s,
            stale_after_s=settings.stale_after_s,
            trouble=self._parts.trouble,
        )
        triggered = not isinstance(settings.trigger, ContinuousSettings)
        self._gate = TriggerGate(self._obstacle) if triggered else None
        if self._gate is not None:
            self._gate.listen(self._parts.missed)
        self._client = EdgeAgentClient(context.socket, deadline_s=settings.deadline_s)
        self._threads = [
            threading.Thread(target=self._guard, args=(run,), name=f"{name}-{part}", daemon=True)
            for part, run in self._loops(camera, settings, context)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def settings(self) -> LaneSettings:
        return self._settings

    def update(self, settings: LaneSettings) -> None:
        """Take over what can change while the lane runs: see LaneSettings.needs_new_lane."""
        self._settings = settings
        self._inspect.threshold, self._inspect.decide_by_ms = settings.threshold, settings.decide_by_ms
        self._parts.decide_by_ms = settings.decide_by_ms

    def pause(self) -> None:
        """Take no frame until `resume`; what was captured before is inspected. Triggers are missed meanwhile."""
        self._paused.set()
        if self._gate is not None:
            self._gate.miss("paused")

    def resume(self) -> None:
        self._paused.clear()

    def paused(self) -> bool:
        return self._paused.is_set()

    def snapshot(self, timeout: float) -> Optional[Snapshot]:
        """The next frame and its inspection; None when none was settled within `timeout` seconds."""
        return self._tap.next(timeout)

    def trigger(self, trigger: Trigger) -> bool:
        """Ask for an image; false when the trigger is missed, which is counted.

        Raises:
            TriggerError: the lane takes every frame of its camera, unasked.
        """
        if self._gate is None:
            raise TriggerError(f"lane {self.name}", "is not triggered", "Set its `trigger`.")
        return self._gate.fire(trigger)

    def ready(self) -> bool:
        """Whether the next trigger is sure to be taken, unless the camera goes: wherever the frames are by then, the
        buffer has room.
        """
        # In this order: a frame is counted before its trigger is taken from the gate.
        if self._gate is None or self._gate.peek() is not None or self._obstacle() is not None:
            return False
        return self._policy == "latest" or self.accounting.snapshot().in_flight < self._settings.buffer

    def inspecting(self) -> bool:
        """Whether a part is between its trigger, or its capture, and its verdict."""
        pending = self._gate is not None and self._gate.peek() is not None
        return pending or self.accounting.snapshot().in_flight > 0

    def on_missed_trigger(self, listener: Callable[[Trigger, str], None]) -> None:
        """Have `listener(trigger, cause)` called for each missed trigger."""
        if self._gate is not None:
            self._gate.listen(listener)

    def status(self) -> Dict[str, Any]:
        """States of lane, camera and model, frames that wait, the books of the triggers, what the camera's transport lost."""
        status: Dict[str, Any] = {
            "state": self.state(),
            "model": self._settings.model,
            "model_version": self._inspect.model_version,
            "model_trouble": self._inspect.model_trouble(),
            "camera": self._watch.state(),
            "stale_times": self._watch.stale_times(),
            "waiting": self._buffer.waiting(),
        }
        if self._gate is not None:
            status["triggers"] = self._gate.snapshot().as_dict()
        if isinstance(self._camera, CountsTransport):
            status["transport"] = dict(self._camera.counters())
        return status

    def stop(self) -> None:
        """No new frame; the one being inspected is finished where the agent answers."""
        self._stop.set()
        self._captured_all.set()

    def finished(self) -> bool:
        """Whether it ran and has ended."""
        return all(thread.ident is not None and not thread.is_alive() for thread in self._threads)

    def faulty(self) -> bool:
        """Whether a fault of ours stopped it; the log has the traceback."""
        return self._faulty.is_set()

    def state(self) -> LaneState:
        if self.faulty():
            return "faulty"
        if self.finished():
            return "finished"
        return "paused" if self.paused() else "running"

    def close(self, timeout: float) -> None:
        """Stop, wait at most `timeout` seconds for each thread, count what is left, unlink the ring."""
        self.stop()
        for thread in self._threads:
            thread.join(timeout)
        self._buffer.drop_all("stopped")
        self._ring.close()
        self._client.close()

    def _loops(
        self, camera: Camera, settings: LaneSettings, context: LaneContext
    ) -> List[Tuple[str, Callable[[], None]]]:
        path = CapturePath(
            lane=self.name,
            camera=camera,
            ring=self._ring,
            buffer=self._buffer,
            accounting=self.accounting,
            parts=self._parts,
            watch=self._watch,
            clock=context.clock,
            gate=self._gate,
            acquire_within_s=settings.acquire_within_s,
            next_sequence=lambda: context.spool.next_sequence(self.name),
            paused=self._paused,
        )
        session = ModelSession(
            self._client,
            settings.model,
            context.clock,
            by_bytes=settings.pixels == "bytes",
            start_timeout_s=settings.start_timeout_s,
        )
        identity = Identity(context.thing, context.run, self.name, settings.model)
        self._inspect = InspectLoop(
            identity,
            session,
            self._buffer,
            context.spool,
            self.accounting,
            context.clock,
            self._stop,
            self._tap,
            self._parts,
            context.observations.of(self.name),
            Onlookers(self.name, context.onlookers(self.name)),
        )
        self.update(settings)
        capture = CaptureLoop(path, self._stop)

        def capture_all() -> None:
            try:
                capture.run()
            finally:
                self._captured_all.set()

        loops = [("capture", capture_all), ("inspect", self._inspect.run)]
        source = make_trigger(settings.trigger, context.clock)
        if source is not None and self._gate is not None:
            loops.append(("trigger", TriggerLoop(self.name, source, self._gate, context.clock, self._captured_all).run))
        return loops

    def _obstacle(self) -> Optional[str]:
        """Why a trigger is missed now. With `latest` there is always room: the longest waiting frame goes."""
        if self._captured_all.is_set():
            return "stopped"
        if self._paused.is_set():
            return "paused"
        if self._watch.state() in ("opening", "silent", "gone"):
            return "camera"
        return "busy" if self._policy != "latest" and self._buffer.full() else None

    def _guard(self, run: Callable[[], None]) -> None:
        """A fault of ours in one lane is logged with its traceback and stops this lane; the others go on."""
        try:
            run()
        except Exception:  # noqa: BLE001 - whatever it is, the other lanes go on
            _log.exception("lane %s: stopped by an internal error", self.name, extra={"lane": self.name})
            self._faulty.set()
            self._parts.trouble()
            self.stop()
