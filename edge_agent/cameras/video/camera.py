"""A video as a camera."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, NamedTuple, Optional

from edge_agent.cameras.base import Captured, Reserve
from edge_agent.cameras.pace import Pace
from edge_agent.cameras.video.settings import VideoSettings
from edge_agent.cameras.video.stream import Stream
from edge_agent.cameras.worker import Resource, is_done
from edge_agent.clock import Clock
from edge_agent.errors import CameraNotConnectedError

# PyAV ends a call that takes too long. What it cannot end, such as the search for a host's address, is left after this.
_GRACE_S = 1.0


class _Read(NamedTuple):
    """A decoded frame and when it came."""

    frame: Any
    wall_ns: int
    monotonic_ns: int


class VideoCamera:
    """See the module's text. Used by one thread at a time."""

    def __init__(self, settings: VideoSettings, clock: Clock) -> None:
        # A stream goes on whether its frames are wanted or not; a file's frames wait.
        self.free_running = bool(settings.scheme)
        self._settings = settings
        self._clock = clock
        self._video: Resource[Stream] = Resource(settings.name, lambda: Stream(settings, clock), Stream.close)
        self._stream: Optional[Stream] = None
        self._reading: Optional[Future[_Read]] = None
        self._asked_ns = 0
        # Decoded, and not due yet.
        self._waiting: Optional[_Read] = None
        self._pace = Pace(clock)
        self._shown_s: Optional[float] = None

    def open(self) -> None:
        self.close()
        self._pace, self._shown_s = Pace(self._clock), None
        self._stream = self._video.open(self._settings.open_timeout_s + _GRACE_S)

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        deadline_ns = self._clock.monotonic_ns() + int(timeout * 1e9)
        if self._waiting is None:
            self._waiting = self._read(timeout)
        stream = self._stream
        if stream is None or self._waiting is None or not self._is_due(stream, self._waiting, deadline_ns):
            return None
        read, self._waiting = self._waiting, None
        if not self._settings.scheme:
            # A file's frame is captured when it is wanted, however long before it was decoded.
            read = self._now(read.frame)
        # The next one is decoded while this one becomes RGB.
        self._reading = self._begin_reading()
        pixels = stream.place(read.frame, reserve)
        return Captured(stream.name(read.frame), read.wall_ns, read.monotonic_ns, pixels)

    def close(self) -> None:
        self._reading = self._waiting = self._stream = None
        self._video.close()

    def _read(self, timeout: float) -> Optional[_Read]:
        if self._reading is None:
            self._reading = self._begin_reading()
        if not is_done(self._reading, timeout):
            if self._clock.monotonic_ns() - self._asked_ns > (self._settings.read_timeout_s + _GRACE_S) * 1e9:
                raise CameraNotConnectedError(
                    self._settings.name, f"gave no frame for {self._settings.read_timeout_s:g} s"
                )
            return None
        reading, self._reading = self._reading, None
        return reading.result()

    def _begin_reading(self) -> Future[_Read]:
        self._asked_ns = self._clock.monotonic_ns()
        return self._video.begin(lambda stream: self._now(stream.read()))

    def _now(self, frame: Any) -> _Read:
        return _Read(frame, self._clock.wall_ns(), self._clock.monotonic_ns())

    def _is_due(self, stream: Stream, read: _Read, deadline_ns: int) -> bool:
        """Whether it is time for the frame; a file's frames are there before theirs."""
        seconds = stream.seconds(read.frame)
        if self._settings.scheme or not self._settings.speed or seconds is None:
            return True
        since = 0.0 if self._shown_s is None else max(0.0, seconds - self._shown_s)
        left = max(0, deadline_ns - self._clock.monotonic_ns()) / 1e9
        if not self._pace.wait(int(since / self._settings.speed * 1e9), left):
            return False
        self._shown_s = seconds
        return True
