"""The lane's first thread: camera to ring slot to frame."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Callable, Optional

from edge_agent.backoff import Backoff
from edge_agent.cameras import Camera, Captured
from edge_agent.clock import Clock
from edge_agent.errors import (
    CameraError,
    CameraNotConnectedError,
    EdgeAgentError,
    EndOfInputError,
    ImageError,
    MissingExtraError,
    SharedMemoryError,
)
from edge_agent.frame import Frame
from edge_agent.lane.buffer import FrameBuffer
from edge_agent.lane.gate import TriggerGate
from edge_agent.lane.parts import Parts
from edge_agent.lane.watch import CameraWatch
from edge_agent.metrics import Accounting
from edge_agent.shared_memory import Ring, Slot
from edge_agent.triggers import Trigger

_log = logging.getLogger(__name__)

# How long one wait may last before the stop event is looked at again.
_LOOK_S = 0.2
_PAUSED_S = 0.05

# A camera that was gone for a minute is tried every 7 s at least, so that it is back soon after its return.
_TRIES = 8


class _SilentError(CameraNotConnectedError):
    """It is open, and nothing comes."""


@dataclass(frozen=True)
class CapturePath:
    """What a capturing thread works with. Without a gate every frame of the camera is taken."""

    lane: str
    camera: Camera
    ring: Ring
    buffer: FrameBuffer
    accounting: Accounting
    parts: Parts
    watch: CameraWatch
    clock: Clock
    gate: Optional[TriggerGate]
    acquire_within_s: float
    next_sequence: Callable[[], int]
    paused: threading.Event


class CaptureLoop:
    """Reconnects the camera for ever, with back-off; ends at the end of input or when `stop` is set."""

    def __init__(self, path: CapturePath, stop: threading.Event) -> None:
        self._path = path
        self._stop = stop
        self._backoff = Backoff(tries=_TRIES)

    def run(self) -> None:
        path = self._path
        try:
            while not self._stop.is_set():
                try:
                    path.camera.open()
                    path.watch.opened(path.clock.monotonic_ns())
                    self._capture_until_gone()
                except EndOfInputError:
                    return
                # What is not installed is installed by a person, while the other lanes go on.
                except (CameraError, MissingExtraError) as error:
                    path.watch.failed(error, "silent" if isinstance(error, _SilentError) else "gone")
                    if path.gate is not None:
                        path.gate.miss("camera")
                    path.clock.wait(self._stop, self._backoff.next())
                finally:
                    path.camera.close()
        finally:
            if path.gate is not None:
                path.gate.miss("stopped")
            path.buffer.end()

    def _capture_until_gone(self) -> None:
        gate, paused = self._path.gate, self._path.paused
        while not self._stop.is_set():
            # A free-running camera is emptied all the time, so that a trigger finds the newest image, no old one.
            if not self._path.camera.free_running:
                if paused.is_set():
                    self._path.clock.wait(self._stop, _PAUSED_S)
                    continue
                if gate is not None and not gate.wait(_LOOK_S):
                    continue
            slot = self._path.ring.acquire(timeout=_LOOK_S)
            if slot is None:
                continue
            frame = self._capture(slot)
            if frame is None:
                slot.release()
            elif not self._hand_over(frame):
                frame.release()
                self._path.accounting.drop("stopped")

    def _capture(self, slot: Slot) -> Optional[Frame]:
        """A frame in the slot; None when none came, none was asked for, or what came was counted as failed."""
        path = self._path
        try:
            captured = path.camera.capture(slot.reserve, _LOOK_S)
        except ImageError as error:
            self._fail("image", error)
            return None
        except SharedMemoryError as error:
            self._fail("shared_memory", error)
            return None
        except CameraError:
            slot.release()
            raise
        now_ns = path.clock.monotonic_ns()
        if captured is None:
            self._nothing_came(slot, now_ns)
            return None
        path.watch.works()
        path.watch.frame(captured.pixels, now_ns)
        self._backoff.reset()
        if path.paused.is_set() and path.camera.free_running:
            return None  # what was asked for before the pause, of a folder, is a part and counts
        trigger: Optional[Trigger] = None
        if path.gate is not None:
            trigger = path.gate.peek()
            if trigger is None or captured.captured_ns < trigger.triggered_ns:
                return None
        path.accounting.capture()
        if path.gate is not None:
            path.gate.take()
        frame = self._frame(captured, slot, trigger)
        path.parts.captured(frame)
        return frame

    def _nothing_came(self, slot: Slot, now_ns: int) -> None:
        path = self._path
        if not path.camera.free_running:
            path.watch.works()
        elif path.watch.is_silent(now_ns):
            slot.release()
            raise _SilentError(path.lane, "the camera is open and gives no frames")
        if path.gate is not None:
            trigger = path.gate.peek()
            if trigger is not None and now_ns - trigger.triggered_ns > path.acquire_within_s * 1e9:
                path.gate.miss("no_image")

    def _fail(self, cause: str, error: EdgeAgentError) -> None:
        if self._path.paused.is_set() and self._path.camera.free_running:
            return
        gate = self._path.gate
        trigger: Optional[Trigger] = None
        if gate is not None:
            trigger = gate.peek()
            if trigger is None:
                return  # nobody asked for this image
            gate.take()
        self._path.accounting.capture()
        self._path.accounting.fail(cause)
        self._path.parts.not_captured(cause, trigger)
        fields = {"lane": self._path.lane, "cause": cause}
        _log.warning("lane %s: frame lost: %s", self._path.lane, error, extra=fields)

    def _frame(self, captured: Captured, slot: Slot, trigger: Optional[Trigger]) -> Frame:
        pixels = captured.pixels
        pixels.flags.writeable = False
        return Frame(
            camera=self._path.lane,
            sequence=self._path.next_sequence(),
            pixels=pixels,
            placement=slot.placement(pixels.nbytes),
            captured_at_ns=captured.captured_at_ns,
            captured_ns=captured.captured_ns,
            decoded_ns=self._path.clock.monotonic_ns(),
            source=captured.source,
            release=slot.release,
            settled=captured.settled,
            trigger_id=trigger.id if trigger is not None else None,
        )

    def _hand_over(self, frame: Frame) -> bool:
        """Give the frame to the inspecting thread; false when the lane was stopped before there was room."""
        while not self._path.buffer.put(frame, _LOOK_S):
            if self._stop.is_set():
                return False
        return True
