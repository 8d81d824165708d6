"""One camera's path: two threads, a ring of frames, a hand-over of one, and the accounting."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass
from typing import Callable, Literal, Optional

from edge_agent.cameras import Camera, FolderSettings
from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.detector import EdgeAgentClient, ModelSession
from edge_agent.frame import Frame
from edge_agent.lane.capture import CaptureLoop
from edge_agent.lane.inspect import Identity, InspectLoop
from edge_agent.metrics import Accounting
from edge_agent.shared_memory import Ring
from edge_agent.spool import MemorySpool

_log = logging.getLogger(__name__)

#: Characters of a component's name (contract section 4.1).
MAX_COMPONENT_NAME = 128

# One frame being captured, one waiting, one being inspected.
_SLOTS = 3


class LaneSettings(Settings, frozen=True):
    """One lane.

    Attributes:
        model: the model component that inspects its frames.
        camera: where the frames come from.
        pixels: `shared_memory`, or `bytes` for an Edge Agent that does not share /dev/shm with the inspector.
        deadline_s: seconds that one call to the Edge Agent may take.
        start_timeout_s: seconds that a model may take to start.
    """

    model: str
    camera: FolderSettings
    pixels: Literal["shared_memory", "bytes"] = "shared_memory"
    deadline_s: float = 2.0
    start_timeout_s: float = 180.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.model) <= MAX_COMPONENT_NAME:
            raise ValueError(f"`model` must be a component's name of 1 to {MAX_COMPONENT_NAME} characters")
        if self.deadline_s <= 0 or self.start_timeout_s <= 0:
            raise ValueError("`deadline_s` and `start_timeout_s` must be above 0")


@dataclass(frozen=True)
class LaneContext:
    """What the lanes of one agent share: the socket of the Edge Agent, the spool, the clock, who and which run."""

    socket: str
    spool: MemorySpool
    clock: Clock
    thing: str
    run: str


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
        self.accounting = Accounting()
        self._faulty = threading.Event()
        self._stop = threading.Event()
        self._frames: queue.Queue[Optional[Frame]] = queue.Queue(maxsize=1)
        self._ring = Ring(_SLOTS)
        self._client = EdgeAgentClient(context.socket, deadline_s=settings.deadline_s)
        capture = CaptureLoop(name, camera, self._ring, self._frames, self.accounting, context.clock, self._stop)
        session = ModelSession(
            self._client,
            settings.model,
            context.clock,
            by_bytes=settings.pixels == "bytes",
            start_timeout_s=settings.start_timeout_s,
        )
        identity = Identity(context.thing, context.run, name, settings.model)
        inspect = InspectLoop(
            identity, session, self._frames, context.spool, self.accounting, context.clock, self._stop
        )
        self._threads = [
            threading.Thread(target=self._guard, args=(loop.run,), name=f"{name}-{part}", daemon=True)
            for part, loop in (("capture", capture), ("inspect", inspect))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No new frame; the one being inspected is finished where the agent answers."""
        self._stop.set()

    def finished(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def faulty(self) -> bool:
        """Whether a fault of ours stopped it; the log has the traceback."""
        return self._faulty.is_set()

    def close(self, timeout: float) -> None:
        """Stop, wait at most `timeout` seconds for each thread, count what is left, unlink the ring."""
        self.stop()
        for thread in self._threads:
            thread.join(timeout)
        while not self._frames.empty():
            frame = self._frames.get_nowait()
            if frame is not None:
                frame.release()
                self.accounting.drop("stopped")
        self._ring.close()
        self._client.close()

    def _guard(self, run: Callable[[], None]) -> None:
        """A fault of ours in one lane is logged with its traceback and stops this lane; the others go on."""
        try:
            run()
        except Exception:  # noqa: BLE001 - whatever it is, the other lanes go on
            _log.exception("lane %s: stopped by an internal error", self.name)
            self._faulty.set()
            self._stop.set()
