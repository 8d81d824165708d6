"""A pipeline that runs, and the frames that come out of it."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from ctypes import byref, c_int
from typing import Any, Iterator, NamedTuple, Optional

import numpy as np

from edge_agent.cameras.gstreamer.library import (
    ASYNC,
    FAILURE,
    MESSAGE_ERROR,
    NO_PREROLL,
    NO_TIME,
    NULL,
    PAUSED,
    PLAYING,
    MapInfo,
    gstreamer,
)
from edge_agent.cameras.gstreamer.settings import GstreamerSettings
from edge_agent.cameras.redact import redacted
from edge_agent.errors import CameraError, CameraNotConnectedError, EndOfInputError
from edge_agent.frame import CHANNELS, Pixels

_SINK = "edge-agent-sink"
_END = "videoconvert ! video/x-raw,format=RGB ! appsink name={sink} max-buffers=1 sync={sync}"

_FORMAT_TIME = 3  # GstFormat
_MAP_READ = 1  # GstMapFlags

# Rows of RGB begin at multiples of this, where nothing else is said (GstVideoInfo).
_ROW_ALIGNMENT = 4

# What a pipeline that has not started yet waits for, between two looks at its messages.
_LOOK_NS = 100_000_000

# A failing element tells first that it fails, and then why.
_REASON_NS = 500_000_000


class Layout(NamedTuple):
    """Where a picture lies in its buffer: pixels, and bytes."""

    height: int
    width: int
    offset: int
    stride: int


class Sample:
    """One frame in GStreamer's memory.

    Attributes:
        age_ns: how long ago it was captured, by the pipeline's clock; 0 where that is not known.
    """

    def __init__(self, pointer: int, age_ns: int) -> None:
        self._pointer = pointer
        self.age_ns = age_ns

    def layout(self) -> Layout:
        library = gstreamer()
        structure = library.call("gst_caps_get_structure", library.call("gst_sample_get_caps", self._pointer), 0)
        width, height = c_int(), c_int()
        library.call("gst_structure_get_int", structure, b"width", byref(width))
        library.call("gst_structure_get_int", structure, b"height", byref(height))
        meta = library.call("gst_buffer_get_video_meta", self._buffer())
        if meta:
            return Layout(height.value, width.value, meta.contents.offset[0], meta.contents.stride[0])
        row = width.value * CHANNELS
        return Layout(height.value, width.value, 0, -(-row // _ROW_ALIGNMENT) * _ROW_ALIGNMENT)

    @contextmanager
    def rows(self, layout: Layout) -> Iterator[Pixels]:
        """The picture's bytes, shape (height, width * 3); the padding of the rows is left out.

        Raises:
            ValueError: the buffer does not hold such a picture.
        """
        library = gstreamer()
        info = MapInfo()
        if not library.call("gst_buffer_map", self._buffer(), byref(info), _MAP_READ):
            raise ValueError("its memory cannot be read")
        try:
            row = layout.width * CHANNELS
            if layout.stride < row or layout.offset + layout.stride * (layout.height - 1) + row > info.size:
                raise ValueError(f"{info.size} bytes are no {layout.width} x {layout.height} pixels")
            memory = (ctypes.c_uint8 * info.size).from_address(info.data)
            yield np.ndarray((layout.height, row), np.uint8, memory, layout.offset, (layout.stride, 1))
        finally:
            library.call("gst_buffer_unmap", self._buffer(), byref(info))

    def release(self) -> None:
        gstreamer().call("gst_mini_object_unref", self._pointer)

    def _buffer(self) -> Any:
        return gstreamer().call("gst_sample_get_buffer", self._pointer)


class Pipeline:
    """A pipeline that was started.

    Attributes:
        live: whether frames come when they come, as from a camera; else they wait to be taken, as from a file.

    Raises (when made):
        CameraError: GStreamer is not installed, or cannot make such a pipeline.
        CameraNotConnectedError: it does not start.
    """

    def __init__(self, settings: GstreamerSettings) -> None:
        self._name = settings.name
        self._library = gstreamer()
        end = _END.format(sink=_SINK, sync=str(settings.sync).lower())
        try:
            self._pipeline = self._library.launch(f"{settings.elements} ! {end}")
        except ValueError as error:
            reason = redacted(str(error))
            raise CameraError(self._name, f"cannot be made ({reason})", "Try it with gst-launch-1.0.") from None
        self._bus = self._library.call("gst_element_get_bus", self._pipeline)
        self._sink = self._library.call("gst_bin_get_by_name", self._pipeline, _SINK.encode())
        try:
            self.live = self._start(int(settings.open_timeout_s * 1e9))
        except CameraError:
            self.close()
            raise

    def pull(self, timeout: float) -> Optional[Sample]:
        """The next frame, to be released; None when none came in that time.

        Raises:
            CameraNotConnectedError: an element of the pipeline failed, or a live pipeline ended.
            EndOfInputError: the pipeline is at its end.
        """
        sample = self._library.call("gst_app_sink_try_pull_sample", self._sink, int(timeout * 1e9))
        if sample:
            # Messages that nobody takes would gather for ever.
            self._raise_errors()
            return Sample(sample, self._age_ns(sample))
        self._raise_errors()
        if self._library.call("gst_app_sink_is_eos", self._sink):
            if self.live:
                raise CameraNotConnectedError(self._name, "ended its stream")
            raise EndOfInputError(self._name, "has no more frames")
        return None

    def close(self) -> None:
        self._library.call("gst_element_set_state", self._pipeline, NULL)
        for pointer in (self._sink, self._bus, self._pipeline):
            self._library.call("gst_object_unref", pointer)

    def _start(self, within_ns: int) -> bool:
        """Set it going; whether it is live."""
        change = self._library.call("gst_element_set_state", self._pipeline, PAUSED)
        live = bool(change == NO_PREROLL)
        waited_ns = 0
        while change == ASYNC:
            self._raise_errors()
            if waited_ns >= within_ns:
                raise CameraNotConnectedError(self._name, f"did not start within {within_ns / 1e9:g} s")
            change = self._library.call("gst_element_get_state", self._pipeline, None, None, _LOOK_NS)
            live = bool(change == NO_PREROLL)
            waited_ns += _LOOK_NS
        if change != FAILURE:
            change = self._library.call("gst_element_set_state", self._pipeline, PLAYING)
        if change == FAILURE:
            self._raise_errors(_REASON_NS)
            raise CameraNotConnectedError(self._name, "does not start")
        return live

    def _raise_errors(self, within_ns: int = 0) -> None:
        """Take the messages of the elements, waiting so long for each; the first error among them is raised."""
        text = ""
        while True:
            message = self._library.call("gst_bus_timed_pop", self._bus, 0 if text else within_ns)
            if not message:
                break
            if message.contents.type == MESSAGE_ERROR and not text:
                text = redacted(self._library.error_of(message))
            self._library.call("gst_mini_object_unref", message)
        if text:
            raise CameraNotConnectedError(self._name, text)

    def _age_ns(self, sample: int) -> int:
        buffer = self._library.call("gst_sample_get_buffer", sample)
        if not self.live or buffer.contents.pts == NO_TIME:
            return 0
        segment = self._library.call("gst_sample_get_segment", sample)
        running = self._library.call("gst_segment_to_running_time", segment, _FORMAT_TIME, buffer.contents.pts)
        clock = self._library.call("gst_element_get_clock", self._pipeline)
        if not clock or running == NO_TIME:
            return 0
        now = self._library.call("gst_clock_get_time", clock)
        self._library.call("gst_object_unref", clock)
        started = self._library.call("gst_element_get_base_time", self._pipeline)
        return max(0, int(now - started - running))
