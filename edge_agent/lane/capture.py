"""The lane's first thread: camera to ring slot to frame."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Optional

from edge_agent.backoff import Backoff
from edge_agent.cameras import Camera, Captured
from edge_agent.clock import Clock
from edge_agent.errors import CameraError, EndOfInputError, ImageError, SharedMemoryError
from edge_agent.frame import Frame
from edge_agent.metrics import Accounting
from edge_agent.outage import Outage
from edge_agent.shared_memory import Ring, Slot

_log = logging.getLogger(__name__)

# How long one wait may last before the stop event is looked at again.
_LOOK_S = 0.2


class CaptureLoop:
    """Reconnects the camera for ever, with back-off; ends at the end of input or when `stop` is set.

    The queue takes frames in order and, last, one None.
    """

    def __init__(
        self,
        lane: str,
        camera: Camera,
        ring: Ring,
        frames: queue.Queue[Optional[Frame]],
        accounting: Accounting,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._lane = lane
        self._camera = camera
        self._ring = ring
        self._frames = frames
        self._accounting = accounting
        self._clock = clock
        self._stop = stop
        self._sequence = 0
        self._backoff = Backoff()
        self._outage = Outage(_log, f"lane {lane}: camera")

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._camera.open()
                    self._capture_until_gone()
                except EndOfInputError:
                    return
                except CameraError as error:
                    self._outage.report(error)
                    self._clock.wait(self._stop, self._backoff.next())
                finally:
                    self._camera.close()
        finally:
            self._hand_over(None)

    def _capture_until_gone(self) -> None:
        while not self._stop.is_set():
            slot = self._ring.acquire(timeout=_LOOK_S)
            if slot is None:
                continue
            frame = self._capture(slot)
            if frame is None:
                slot.release()
            elif not self._hand_over(frame):
                frame.release()
                self._accounting.drop("stopped")

    def _capture(self, slot: Slot) -> Optional[Frame]:
        """A frame in the slot; None when none came or when what came was counted as failed."""
        try:
            captured = self._camera.capture(slot.reserve, _LOOK_S)
        except ImageError as error:
            self._count_failed("image", error)
            return None
        except SharedMemoryError as error:
            self._count_failed("shared_memory", error)
            return None
        except CameraError:
            slot.release()
            raise
        self._outage.over()
        self._backoff.reset()
        if captured is None:
            return None
        self._accounting.capture()
        return self._frame(captured, slot)

    def _count_failed(self, cause: str, error: Exception) -> None:
        self._accounting.capture()
        self._accounting.fail(cause)
        _log.warning("lane %s: frame lost: %s", self._lane, error)

    def _frame(self, captured: Captured, slot: Slot) -> Frame:
        self._sequence += 1
        pixels = captured.pixels
        pixels.flags.writeable = False
        return Frame(
            camera=self._lane,
            sequence=self._sequence,
            pixels=pixels,
            placement=slot.placement(pixels.nbytes),
            captured_at_ns=captured.captured_at_ns,
            captured_ns=captured.captured_ns,
            decoded_ns=self._clock.monotonic_ns(),
            source=captured.source,
            release=slot.release,
        )

    def _hand_over(self, frame: Optional[Frame]) -> bool:
        """Give the frame to the inspecting thread; false when the lane was stopped before there was room."""
        while True:
            try:
                self._frames.put(frame, timeout=_LOOK_S)
            except queue.Full:
                # The inspecting thread looks at `stop` itself and needs no last None then.
                if self._stop.is_set():
                    return False
            else:
                return True
