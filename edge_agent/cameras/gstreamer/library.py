"""GStreamer 1.x by its C interface.

Through ctypes: its Python bindings have no wheel, and Debian's serve Debian's own Python alone. The C interface serves
every Python, in a virtual environment too, without a compiler. The structures below are part of GStreamer's public,
frozen interface (64-bit machines).

A pointer here is a number. The calls release the interpreter's lock while they run.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, List, Tuple

from edge_agent.errors import CameraError

_REMEDY = "Install it with: apt-get install gstreamer1.0-plugins-base gstreamer1.0-plugins-good"

#: GstState
NULL, PAUSED, PLAYING = 1, 3, 4
#: GstStateChangeReturn
FAILURE, SUCCESS, ASYNC, NO_PREROLL = 0, 1, 2, 3
#: GstMessageType
MESSAGE_EOS, MESSAGE_ERROR = 1, 2
#: GstClockTime that is no time.
NO_TIME = 2**64 - 1

_FATAL_ERRORS = 1  # GstParseFlags
_PLANES = 4  # GST_VIDEO_MAX_PLANES


class _Error(ctypes.Structure):
    _fields_ = [("domain", c_uint32), ("code", c_int), ("message", c_char_p)]


class _MiniObject(ctypes.Structure):
    _fields_ = [
        ("type", c_size_t),
        ("refcount", c_int),
        ("lockstate", c_int),
        ("flags", c_uint),
        ("copy", c_void_p),
        ("dispose", c_void_p),
        ("free", c_void_p),
        ("priv_uint", c_uint),
        ("priv_pointer", c_void_p),
    ]


class Message(ctypes.Structure):
    """GstMessage, as far as it is public."""

    _fields_ = [
        ("mini_object", _MiniObject),
        ("type", c_uint),
        ("timestamp", c_uint64),
        ("src", c_void_p),
    ]


class Buffer(ctypes.Structure):
    """GstBuffer, up to its time."""

    _fields_ = [("mini_object", _MiniObject), ("pool", c_void_p), ("pts", c_uint64)]


class MapInfo(ctypes.Structure):
    """GstMapInfo: the memory of a buffer while it is mapped."""

    _fields_ = [
        ("memory", c_void_p),
        ("flags", c_uint),
        ("data", c_void_p),
        ("size", c_size_t),
        ("maxsize", c_size_t),
        ("user_data", c_void_p * 4),
        ("reserved", c_void_p * 4),
    ]


class VideoMeta(ctypes.Structure):
    """GstVideoMeta: how an element laid out the picture in its buffer, where it is not the usual way."""

    _fields_ = [
        ("meta_flags", c_uint),
        ("meta_info", c_void_p),
        ("buffer", c_void_p),
        ("flags", c_uint),
        ("format", c_uint),
        ("id", c_int),
        ("width", c_uint),
        ("height", c_uint),
        ("planes", c_uint),
        ("offset", c_size_t * _PLANES),
        ("stride", c_int * _PLANES),
    ]


_GSTREAMER: Dict[str, Tuple[Any, List[Any]]] = {
    "gst_init_check": (c_int, [c_void_p, c_void_p, c_void_p]),
    "gst_parse_launch_full": (c_void_p, [c_char_p, c_void_p, c_int, c_void_p]),
    "gst_bin_get_by_name": (c_void_p, [c_void_p, c_char_p]),
    "gst_element_set_state": (c_int, [c_void_p, c_int]),
    "gst_element_get_state": (c_int, [c_void_p, c_void_p, c_void_p, c_uint64]),
    "gst_element_get_bus": (c_void_p, [c_void_p]),
    "gst_element_get_clock": (c_void_p, [c_void_p]),
    "gst_element_get_base_time": (c_uint64, [c_void_p]),
    "gst_clock_get_time": (c_uint64, [c_void_p]),
    "gst_bus_timed_pop": (POINTER(Message), [c_void_p, c_uint64]),
    "gst_message_parse_error": (None, [c_void_p, c_void_p, c_void_p]),
    "gst_object_get_name": (c_void_p, [c_void_p]),
    "gst_object_unref": (None, [c_void_p]),
    "gst_mini_object_unref": (None, [c_void_p]),
    "gst_sample_get_buffer": (POINTER(Buffer), [c_void_p]),
    "gst_sample_get_caps": (c_void_p, [c_void_p]),
    "gst_sample_get_segment": (c_void_p, [c_void_p]),
    "gst_segment_to_running_time": (c_uint64, [c_void_p, c_int, c_uint64]),
    "gst_caps_get_structure": (c_void_p, [c_void_p, c_uint]),
    "gst_structure_get_int": (c_int, [c_void_p, c_char_p, POINTER(c_int)]),
    "gst_buffer_map": (c_int, [c_void_p, POINTER(MapInfo), c_int]),
    "gst_buffer_unmap": (None, [c_void_p, POINTER(MapInfo)]),
}
_APP: Dict[str, Tuple[Any, List[Any]]] = {
    "gst_app_sink_try_pull_sample": (c_void_p, [c_void_p, c_uint64]),
    "gst_app_sink_is_eos": (c_int, [c_void_p]),
}
_VIDEO: Dict[str, Tuple[Any, List[Any]]] = {"gst_buffer_get_video_meta": (POINTER(VideoMeta), [c_void_p])}
_GLIB: Dict[str, Tuple[Any, List[Any]]] = {"g_free": (None, [c_void_p]), "g_error_free": (None, [c_void_p])}

_FUNCTIONS = {
    "libgstreamer-1.0.so.0": _GSTREAMER,
    "libgstapp-1.0.so.0": _APP,
    "libgstvideo-1.0.so.0": _VIDEO,
    "libglib-2.0.so.0": _GLIB,
}


class Gstreamer:
    """The functions of the libraries, by name."""

    def __init__(self) -> None:
        self._functions: Dict[str, Any] = {}
        for library, functions in _FUNCTIONS.items():
            try:
                loaded = ctypes.CDLL(library)
            except OSError as error:
                raise CameraError("GStreamer", f"is not installed ({error})", _REMEDY) from error
            for name, (result, arguments) in functions.items():
                function = getattr(loaded, name)
                function.restype, function.argtypes = result, arguments
                self._functions[name] = function
        problem = POINTER(_Error)()
        if not self.call("gst_init_check", None, None, byref(problem)):
            raise CameraError("GStreamer", f"cannot be used ({self._take(problem)})", _REMEDY)

    def call(self, name: str, *arguments: Any) -> Any:
        return self._functions[name](*arguments)

    def launch(self, description: str) -> int:
        """The pipeline of a description.

        Raises:
            ValueError: what is wrong with it.
        """
        error = POINTER(_Error)()
        pipeline = self.call("gst_parse_launch_full", description.encode(), None, _FATAL_ERRORS, byref(error))
        if not pipeline:
            raise ValueError(self._take(error))
        return int(pipeline)

    def error_of(self, message: Any) -> str:
        """What an error message of a pipeline says: the element's name, and why."""
        error = POINTER(_Error)()
        self.call("gst_message_parse_error", message, byref(error), None)
        return f"{self.name_of(message.contents.src)}: {self._take(error)}"

    def name_of(self, element: int) -> str:
        name = self.call("gst_object_get_name", element)
        text = ctypes.string_at(name).decode(errors="replace")
        self.call("g_free", name)
        return text

    def _take(self, error: Any) -> str:
        """The text of an error, which is freed."""
        if not error:
            return "for a reason it does not say"
        text = (error.contents.message or b"").decode(errors="replace")
        self.call("g_error_free", error)
        return " ".join(text.split()).rstrip(".")


@functools.lru_cache(maxsize=None)
def gstreamer() -> Gstreamer:
    """The library; one in a process, as its own state is.

    Raises:
        CameraError: it is not installed.
    """
    return Gstreamer()
