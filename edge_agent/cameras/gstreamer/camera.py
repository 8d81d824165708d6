"""A GStreamer pipeline as a camera."""

from __future__ import annotations

from typing import Optional

from edge_agent.cameras.base import Captured, Reserve, size_problem
from edge_agent.cameras.gstreamer.pipeline import Pipeline, Sample
from edge_agent.cameras.gstreamer.settings import GstreamerSettings
from edge_agent.cameras.worker import Resource
from edge_agent.clock import Clock
from edge_agent.errors import CameraError, CameraNotConnectedError, ImageError

# What starting may take beyond the time that the pipeline has: the search for plugins of the very first one.
_GRACE_S = 10.0

# A frame that claims to be older has a wrong time stamp.
_MAX_AGE_NS = 10_000_000_000


class GstreamerCamera:
    """See the module's text. Used by one thread at a time."""

    def __init__(self, settings: GstreamerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._resource: Resource[Pipeline] = Resource(settings.name, lambda: Pipeline(settings), Pipeline.close)
        self._pipeline: Optional[Pipeline] = None

    @property
    def free_running(self) -> bool:
        """Of a live pipeline. What it is shows when it is open."""
        return self._pipeline is not None and self._pipeline.live

    def open(self) -> None:
        self.close()
        self._pipeline = self._resource.open(self._settings.open_timeout_s + _GRACE_S)

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        if self._pipeline is None:
            raise CameraNotConnectedError(self._settings.name, "is not open")
        sample = self._pipeline.pull(timeout)
        if sample is None:
            return None
        try:
            return self._place(sample, reserve)
        finally:
            sample.release()

    def close(self) -> None:
        self._pipeline = None
        self._resource.close()

    def _place(self, sample: Sample, reserve: Reserve) -> Captured:
        name = self._settings.name
        age_ns = sample.age_ns if sample.age_ns < _MAX_AGE_NS else 0
        wall_ns, monotonic_ns = self._clock.wall_ns() - age_ns, self._clock.monotonic_ns() - age_ns
        layout = sample.layout()
        problem = size_problem(layout.width, layout.height)
        if problem:
            raise CameraError(name, problem, "Add `videoscale ! video/x-raw,width=...,height=...` to the pipeline.")
        try:
            with sample.rows(layout) as rows:
                pixels = reserve(layout.height, layout.width)
                pixels.reshape(layout.height, -1)[...] = rows
        except ValueError as error:
            raise ImageError(name, f"gave what is no picture ({error})") from error
        return Captured(name, wall_ns, monotonic_ns, pixels)
