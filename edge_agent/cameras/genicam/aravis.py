"""Aravis 0.8, the library for GigE Vision and USB3 Vision cameras, by its C interface.

Through ctypes: Aravis has no wheel, and PyGObject none either, while Debian's binding of it serves Debian's own Python
alone. The C interface serves every Python, without a compiler.

A pointer here is a number. Who gets one from a function that says "new" owns a reference and gives it back with
`unref`. The calls release the interpreter's lock while they run.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, List, Optional, Tuple

from edge_agent.errors import CameraError

_SONAME = "libaravis-0.8.so.0"


class _GError(ctypes.Structure):
    _fields_ = [("domain", c_uint32), ("code", c_int), ("message", c_char_p)]


class AravisError(Exception):
    """What a call of Aravis says went wrong. Stays inside this package.

    Attributes:
        code: of ArvDeviceError; None where another library below raised it.
    """

    def __init__(self, message: str, code: Optional[int]) -> None:
        super().__init__(message)
        self.code = code


_INT, _UINT, _DOUBLE, _TEXT, _OBJECT = c_int, c_uint, c_double, c_char_p, c_void_p
_INTS, _DOUBLES = POINTER(c_int), POINTER(c_double)

# Functions that report a GError as their last argument: (result, arguments before it).
_FAILING: Dict[str, Tuple[Any, List[Any]]] = {
    "arv_camera_new": (_OBJECT, [_TEXT]),
    "arv_camera_create_stream": (_OBJECT, [_OBJECT, c_void_p, c_void_p]),
    "arv_camera_get_payload": (_UINT, [_OBJECT]),
    "arv_camera_start_acquisition": (None, [_OBJECT]),
    "arv_camera_stop_acquisition": (None, [_OBJECT]),
    "arv_camera_get_vendor_name": (_TEXT, [_OBJECT]),
    "arv_camera_get_model_name": (_TEXT, [_OBJECT]),
    "arv_camera_get_device_serial_number": (_TEXT, [_OBJECT]),
    "arv_camera_set_pixel_format_from_string": (None, [_OBJECT, _TEXT]),
    "arv_camera_get_pixel_format_as_string": (_TEXT, [_OBJECT]),
    "arv_camera_dup_available_pixel_formats_as_strings": (c_void_p, [_OBJECT, POINTER(c_uint)]),
    "arv_camera_get_sensor_size": (None, [_OBJECT, _INTS, _INTS]),
    "arv_camera_set_region": (None, [_OBJECT, _INT, _INT, _INT, _INT]),
    "arv_camera_get_region": (None, [_OBJECT, _INTS, _INTS, _INTS, _INTS]),
    "arv_camera_is_exposure_time_available": (_INT, [_OBJECT]),
    "arv_camera_is_exposure_auto_available": (_INT, [_OBJECT]),
    "arv_camera_set_exposure_time_auto": (None, [_OBJECT, _INT]),
    "arv_camera_get_exposure_time_bounds": (None, [_OBJECT, _DOUBLES, _DOUBLES]),
    "arv_camera_set_exposure_time": (None, [_OBJECT, _DOUBLE]),
    "arv_camera_get_exposure_time": (_DOUBLE, [_OBJECT]),
    "arv_camera_is_gain_available": (_INT, [_OBJECT]),
    "arv_camera_is_gain_auto_available": (_INT, [_OBJECT]),
    "arv_camera_set_gain_auto": (None, [_OBJECT, _INT]),
    "arv_camera_get_gain_bounds": (None, [_OBJECT, _DOUBLES, _DOUBLES]),
    "arv_camera_set_gain": (None, [_OBJECT, _DOUBLE]),
    "arv_camera_get_gain": (_DOUBLE, [_OBJECT]),
    "arv_camera_is_frame_rate_available": (_INT, [_OBJECT]),
    "arv_camera_get_frame_rate_bounds": (None, [_OBJECT, _DOUBLES, _DOUBLES]),
    "arv_camera_set_frame_rate": (None, [_OBJECT, _DOUBLE]),
    "arv_camera_get_frame_rate": (_DOUBLE, [_OBJECT]),
    "arv_camera_clear_triggers": (None, [_OBJECT]),
    "arv_camera_set_trigger": (None, [_OBJECT, _TEXT]),
    "arv_camera_software_trigger": (None, [_OBJECT]),
    "arv_camera_set_acquisition_mode": (None, [_OBJECT, _INT]),
    "arv_camera_gv_set_packet_size": (None, [_OBJECT, _INT]),
    "arv_camera_gv_get_packet_size": (_UINT, [_OBJECT]),
    "arv_camera_gv_set_packet_delay": (None, [_OBJECT, ctypes.c_int64]),
    "arv_device_is_feature_available": (_INT, [_OBJECT, _TEXT]),
    "arv_device_set_float_feature_value": (None, [_OBJECT, _TEXT, _DOUBLE]),
    "arv_device_get_float_feature_value": (_DOUBLE, [_OBJECT, _TEXT]),
    "arv_device_get_string_feature_value": (_TEXT, [_OBJECT, _TEXT]),
    "arv_device_set_string_feature_value": (None, [_OBJECT, _TEXT, _TEXT]),
    "arv_device_set_features_from_string": (_INT, [_OBJECT, _TEXT]),
    "arv_device_read_memory": (_INT, [_OBJECT, c_uint64, c_uint32, c_void_p]),
}

# Functions that cannot fail.
_SAFE: Dict[str, Tuple[Any, List[Any]]] = {
    "arv_update_device_list": (None, []),
    "arv_get_n_devices": (_UINT, []),
    **{
        f"arv_get_device_{what}": (_TEXT, [_UINT])
        for what in ("id", "physical_id", "address", "vendor", "model", "serial_nbr", "protocol")
    },
    "arv_camera_get_device": (_OBJECT, [_OBJECT]),
    "arv_camera_is_gv_device": (_INT, [_OBJECT]),
    "arv_camera_gv_set_packet_size_adjustment": (None, [_OBJECT, _INT]),
    "arv_camera_gv_set_stream_options": (None, [_OBJECT, _INT]),
    "arv_gv_device_is_controller": (_INT, [_OBJECT]),
    "arv_buffer_new_allocate": (_OBJECT, [c_size_t]),
    "arv_buffer_get_status": (_INT, [_OBJECT]),
    "arv_buffer_get_payload_type": (_INT, [_OBJECT]),
    "arv_buffer_get_data": (c_void_p, [_OBJECT, POINTER(c_size_t)]),
    "arv_buffer_get_frame_id": (c_uint64, [_OBJECT]),
    "arv_buffer_get_system_timestamp": (c_uint64, [_OBJECT]),
    "arv_buffer_get_image_width": (_INT, [_OBJECT]),
    "arv_buffer_get_image_height": (_INT, [_OBJECT]),
    "arv_buffer_get_image_pixel_format": (c_uint32, [_OBJECT]),
    "arv_stream_push_buffer": (None, [_OBJECT, _OBJECT]),
    "arv_stream_timeout_pop_buffer": (_OBJECT, [_OBJECT, c_uint64]),
    "arv_stream_get_info_uint64_by_name": (c_uint64, [_OBJECT, _TEXT]),
}

# Functions that came with later releases of 0.8.
_LATER: Dict[str, Tuple[Any, List[Any]]] = {
    "arv_buffer_get_image_padding": (None, [_OBJECT, _INTS, _INTS]),
}


class Aravis:
    """The functions of the library, by name.

    Attributes:
        list_lock: held while the list of devices is read: the library's own lock does not cover the strings it gives.
    """

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(_SONAME)
            self._glib = ctypes.CDLL("libgobject-2.0.so.0")
        except OSError as error:
            raise CameraError(
                "Aravis", f"is not installed ({error})", "Install it with: apt-get install libaravis-0.8-0"
            ) from error
        self.list_lock = threading.Lock()
        self._functions: Dict[str, Any] = {}
        for name, (result, arguments) in _SAFE.items():
            self._declare(name, result, arguments)
        for name, (result, arguments) in _FAILING.items():
            self._declare(name, result, [*arguments, POINTER(POINTER(_GError))])
        for name, (result, arguments) in _LATER.items():
            if hasattr(self._library, name):
                self._declare(name, result, arguments)
        self._domain = self._quark()
        self._glib.g_object_unref.argtypes = [c_void_p]
        self._glib.g_free.argtypes = [c_void_p]
        self._glib.g_error_free.argtypes = [c_void_p]

    def call(self, name: str, *arguments: Any) -> Any:
        """The function's result. Text comes as `str`, or None where the library has none.

        Raises:
            AravisError: the library reports an error.
        """
        values = [value.encode() if isinstance(value, str) else value for value in arguments]
        if name not in _FAILING:
            return _plain(self._functions[name](*values))
        error = POINTER(_GError)()
        result = self._functions[name](*values, byref(error))
        if bool(error):  # a pointer that is not null
            message, domain, code = error.contents.message, error.contents.domain, error.contents.code
            self._glib.g_error_free(error)
            raise AravisError((message or b"").decode(errors="replace"), code if domain == self._domain else None)
        return _plain(result)

    def has(self, name: str) -> bool:
        """Whether this release of the library has the function."""
        return name in self._functions

    def set_property(self, stream: int, name: str, value: int) -> None:
        """An integer or enumeration property of a GObject."""
        # Variadic: each argument has its exact C type, and a null pointer ends the list.
        self._glib.g_object_set(c_void_p(stream), c_char_p(name.encode()), c_int(value), c_void_p(None))

    def texts(self, array: int, count: int) -> List[str]:
        """The strings of an array that was given to us; the array is freed, the strings belong to the camera."""
        strings = ctypes.cast(array, POINTER(c_char_p))
        values = [(strings[index] or b"").decode(errors="replace") for index in range(count)]
        self.free(array)
        return values

    def free(self, pointer: int) -> None:
        self._glib.g_free(pointer)

    def unref(self, pointer: int) -> None:
        self._glib.g_object_unref(pointer)

    def _declare(self, name: str, result: Any, arguments: List[Any]) -> None:
        function = getattr(self._library, name, None)
        if function is None:
            raise CameraError("Aravis", f"has no {name}", "Install Aravis 0.8.11 or newer.")
        function.restype, function.argtypes = result, arguments
        self._functions[name] = function

    def _quark(self) -> int:
        function = self._library.arv_device_error_quark
        function.restype, function.argtypes = c_uint32, []
        return int(function())


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


@functools.lru_cache(maxsize=None)
def aravis() -> Aravis:
    """The library; one in a process, as the lists of devices that it keeps are.

    Raises:
        CameraError: it is not installed, or too old.
    """
    return Aravis()
