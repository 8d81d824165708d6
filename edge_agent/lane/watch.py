"""Is the camera alive? Silence and frozen pictures, and one log line when a camera goes and when it is back."""

from __future__ import annotations

import logging
import threading
import zlib
from typing import Callable, Literal, Optional

from edge_agent.frame import Pixels
from edge_agent.outage import Outage

_log = logging.getLogger(__name__)

#: opening  it was never connected, or is being connected
#: live     it gives frames, or has none to give
#: silent   it gave none for too long and is being reconnected
#: gone     it said so, and is being reconnected
#: stale    it gives the same picture again and again
CameraState = Literal["opening", "live", "silent", "gone", "stale"]

# Every 16th pixel of every 16th row: at 12 MP 0.1 ms. Two pictures of a real sensor differ by noise in nearly all.
_STEP = 16


class CameraWatch:
    """Written by the capturing thread, read by any.

    Args:
        subject: the lane, for the log.
        silent_after_s: seconds without a frame after which a free-running camera is silent; 0: never.
        stale_after_s: seconds of the same picture after which it is stale; 0: never.
        trouble: called each time that it fails, or its picture freezes.
    """

    def __init__(
        self,
        subject: str,
        *,
        silent_after_s: float,
        stale_after_s: float,
        trouble: Callable[[], None] = lambda: None,
    ) -> None:
        self._silent_ns = silent_after_s * 1e9
        self._stale_ns = stale_after_s * 1e9
        # What ended its stream cannot be opened next, and times out after that: one outage, told once.
        self._outage = Outage(_log, f"{subject}: camera", changes=logging.DEBUG)
        self._subject = subject
        self._trouble = trouble
        self._lock = threading.Lock()
        self._state: CameraState = "opening"
        self._stale_times = 0
        self._last_ns = 0
        self._picture: Optional[int] = None
        self._picture_since_ns = 0

    def state(self) -> CameraState:
        with self._lock:
            return self._state

    def stale_times(self) -> int:
        """How often the picture froze."""
        with self._lock:
            return self._stale_times

    def opened(self, now_ns: int) -> None:
        """It is connected; whether it works will show."""
        self._last_ns = now_ns
        self._picture = None
        with self._lock:
            self._state = "live"

    def works(self) -> None:
        """It answered, with or without a frame."""
        self._outage.over()
        with self._lock:
            if self._state != "stale":
                self._state = "live"

    def failed(self, error: Exception, state: CameraState = "gone") -> None:
        with self._lock:
            self._state = state
        self._trouble()
        self._outage.report(error)

    def is_silent(self, now_ns: int) -> bool:
        return 0 < self._silent_ns < now_ns - self._last_ns

    def frame(self, pixels: Pixels, now_ns: int) -> None:
        """A frame came; notices a picture that does not change."""
        self._last_ns = now_ns
        if not self._stale_ns:
            return
        picture = zlib.crc32(pixels[::_STEP, ::_STEP].tobytes())
        if picture != self._picture:
            self._picture, self._picture_since_ns = picture, now_ns
            self._set_stale(stale=False)
        elif now_ns - self._picture_since_ns >= self._stale_ns:
            self._set_stale(stale=True)

    def _set_stale(self, *, stale: bool) -> None:
        with self._lock:
            was = self._state == "stale"
            if stale == was:
                return
            self._state = "stale" if stale else "live"
            self._stale_times += stale
        if stale:
            self._trouble()
            _log.warning("%s: camera: stale: the same picture for %g s", self._subject, self._stale_ns / 1e9)
        else:
            _log.warning("%s: camera: the picture changes again", self._subject)
