"""One open camera: a reference to Aravis' camera, and what is asked of it. Errors are ours, with the camera's name."""

from __future__ import annotations

from ctypes import byref, c_double, c_int, c_uint, create_string_buffer
from typing import Any, Dict, List, Tuple

from edge_agent.cameras.genicam.aravis import AravisError, aravis
from edge_agent.errors import CameraError, CameraNotConnectedError

# ArvDeviceError: not connected, transfer error, timeout, not found, no stream channel, not the controller, and
# access denied, which is how a camera says that another program controls it.
_PASSING = frozenset((2, 4, 5, 6, 9, 10, 17))

# ArvAuto, ArvAcquisitionMode, ArvGvStreamOption, ArvGvPacketSizeAdjustment
_AUTO_OFF = 0
_CONTINUOUS = 0
_PACKET_SOCKET_DISABLED = 1
_ADJUST_NEVER, _ADJUST_ALWAYS = 0, 4


class Device:
    """A camera under our control.

    Args:
        device_id: as Aravis knows it: an id, an address, a user-defined name.
        subject: what errors call the camera.

    Raises:
        CameraNotConnectedError: it does not answer, or another program controls it.
        CameraError: Aravis is not installed.
    """

    def __init__(self, device_id: str, subject: str) -> None:
        self._aravis = aravis()
        self._subject = subject
        self._camera = self._open(device_id)
        self._device: int = self._call("arv_camera_get_device")
        self.is_gige = bool(self._call("arv_camera_is_gv_device"))

    def close(self) -> None:
        """Give the camera's control back."""
        if self._camera:
            self._aravis.unref(self._camera)
            self._camera = 0

    def describe(self) -> Dict[str, Any]:
        """What it is and how it is set."""
        sensor = [c_int(), c_int()]
        self._call("arv_camera_get_sensor_size", *map(byref, sensor))
        described = {
            "vendor": self._call("arv_camera_get_vendor_name"),
            "model": self._call("arv_camera_get_model_name"),
            "serial": self._call("arv_camera_get_device_serial_number"),
            "sensor": [side.value for side in sensor],
            "region": dict(zip(("x", "y", "width", "height"), self.region())),
            "pixel_format": self._call("arv_camera_get_pixel_format_as_string"),
            "pixel_formats": self.pixel_formats(),
            "frame_rate": self.frame_rate(),
        }
        return {**described, "packet_size": self.packet_size()} if self.is_gige else described

    def is_controlled(self) -> bool:
        """Whether the camera still answers to us, and to us alone.

        A GigE Vision camera is asked by Aravis every second, in its own thread, and counts as lost after five without
        an answer; here only the outcome is looked at. Others are asked now.
        """
        if self.is_gige:
            return bool(self._aravis.call("arv_gv_device_is_controller", self._device))
        first_register = create_string_buffer(4)
        try:
            self._aravis.call("arv_device_read_memory", self._device, 0, 4, first_register)
        except AravisError:
            return False
        return True

    def pixel_formats(self) -> List[str]:
        """What it can send, by the names of the PFNC."""
        count = c_uint()
        array = self._call("arv_camera_dup_available_pixel_formats_as_strings", byref(count))
        return self._aravis.texts(array, count.value)

    def set_pixel_format(self, name: str) -> None:
        offered = self.pixel_formats()
        if name not in offered:
            self._refuse("pixel_format", f"the camera has no {name}", f"It has {', '.join(offered)}.")
        self._call("arv_camera_set_pixel_format_from_string", name)

    def set_region(self, x: int, y: int, width: int, height: int) -> None:
        self._call("arv_camera_set_region", x, y, width, height)
        got = self.region()
        if got != (x, y, width, height):
            self._refuse(
                "region",
                f"the camera made x {got[0]}, y {got[1]}, width {got[2]}, height {got[3]} of it",
                "Keep to its sensor and its step.",
            )

    def region(self) -> Tuple[int, int, int, int]:
        """x, y, width, height."""
        values = [c_int() for _ in range(4)]
        self._call("arv_camera_get_region", *map(byref, values))
        x, y, width, height = (value.value for value in values)
        return x, y, width, height

    def set_exposure_us(self, value: float) -> None:
        if self._call("arv_camera_is_exposure_auto_available"):
            self._call("arv_camera_set_exposure_time_auto", _AUTO_OFF)
        self._set_number("exposure_us", "exposure_time", value)

    def set_gain(self, value: float) -> None:
        if self._call("arv_camera_is_gain_auto_available"):
            self._call("arv_camera_set_gain_auto", _AUTO_OFF)
        self._set_number("gain", "gain", value)

    def set_frame_rate(self, value: float) -> None:
        self._set_number("frame_rate", "frame_rate", value)

    def frame_rate(self) -> float:
        """Images a second in free run; 0 where the camera does not say."""
        available = self._call("arv_camera_is_frame_rate_available")
        return float(self._call("arv_camera_get_frame_rate")) if available else 0.0

    def run_free(self) -> None:
        """Take images without a trigger, without end."""
        self._call("arv_camera_clear_triggers")
        self._call("arv_camera_set_acquisition_mode", _CONTINUOUS)

    def wait_for_trigger(self, source: str) -> None:
        """One image for each trigger from that source."""
        self._call("arv_camera_set_acquisition_mode", _CONTINUOUS)
        self._call("arv_camera_set_trigger", source)

    def set_trigger_delay_us(self, value: float) -> None:
        # The feature's names, of the present standard and of the one before it.
        for name in ("TriggerDelay", "TriggerDelayAbs"):
            if self._ask("arv_device_is_feature_available", name):
                self._ask("arv_device_set_float_feature_value", name, value)
                return
        self._refuse("trigger.delay_us", "the camera cannot delay its trigger", "Leave it out.")

    def trigger(self) -> None:
        """Ask for one image."""
        self._call("arv_camera_software_trigger")

    def set_feature(self, name: str, value: str) -> None:
        """A feature by its GenICam name, whatever its type."""
        if not self._ask("arv_device_is_feature_available", name):
            self._refuse(f"features.{name}", "the camera has no such feature now", "See its manual.")
        self._ask("arv_device_set_features_from_string", f'{name}="{value}"')

    def number(self, name: str) -> float:
        """A Float feature by its GenICam name."""
        return float(self._ask("arv_device_get_float_feature_value", name))

    def text(self, name: str) -> str:
        """A String feature by its GenICam name."""
        return str(self._ask("arv_device_get_string_feature_value", name))

    def packet_size(self) -> int:
        """Bytes of a packet with its headers, of a GigE Vision camera."""
        return int(self._call("arv_camera_gv_get_packet_size"))

    def set_packet_size(self, size: int) -> None:
        """Bytes of a packet with its headers; 0: the largest that comes through, sought when the stream is made."""
        self._call("arv_camera_gv_set_packet_size_adjustment", _ADJUST_NEVER if size else _ADJUST_ALWAYS)
        if size:
            self._call("arv_camera_gv_set_packet_size", size)
            got = self.packet_size()
            if got != size:
                self._refuse("network.packet_size", f"the camera made {got} of it", "Keep to its limits and step.")

    def set_packet_delay_ns(self, value: int) -> None:
        self._call("arv_camera_gv_set_packet_delay", value)

    def disable_packet_socket(self) -> None:
        self._call("arv_camera_gv_set_stream_options", _PACKET_SOCKET_DISABLED)

    def create_stream(self) -> int:
        """A new reference to a stream."""
        return int(self._call("arv_camera_create_stream", None, None))

    def payload(self) -> int:
        """Bytes of one image with all that comes with it."""
        return int(self._call("arv_camera_get_payload"))

    def start(self) -> None:
        self._call("arv_camera_start_acquisition")

    def stop(self) -> None:
        self._call("arv_camera_stop_acquisition")

    def _open(self, device_id: str) -> int:
        try:
            # The list of devices may be made anew within this call.
            with self._aravis.list_lock:
                return int(self._aravis.call("arv_camera_new", device_id))
        except AravisError as error:
            # Whatever it is, a camera that is being plugged in or started is one that can be opened later.
            raise CameraNotConnectedError(
                self._subject, f"cannot be opened ({error})", "Check cable, power, address and other programs."
            ) from error

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._on(self._camera, name, *arguments)

    def _ask(self, name: str, *arguments: Any) -> Any:
        return self._on(self._device, name, *arguments)

    def _on(self, target: int, name: str, *arguments: Any) -> Any:
        try:
            return self._aravis.call(name, target, *arguments)
        except AravisError as error:
            what = f"{name.replace('arv_', '', 1)}: {error}"
            if error.code in _PASSING:
                raise CameraNotConnectedError(self._subject, f"does not answer ({what})") from error
            raise CameraError(self._subject, f"refuses a setting ({what})", "Correct it, or leave it out.") from error

    def _set_number(self, key: str, feature: str, value: float) -> None:
        if not self._call(f"arv_camera_is_{feature}_available"):
            self._refuse(key, "the camera cannot set it", "Leave it out.")
        least, most = c_double(), c_double()
        self._call(f"arv_camera_get_{feature}_bounds", byref(least), byref(most))
        if not least.value <= value <= most.value:
            self._refuse(key, f"{value:g} is outside of the camera's {least.value:g} to {most.value:g}", "Correct it.")
        self._call(f"arv_camera_set_{feature}", value)

    def _refuse(self, key: str, reason: str, remedy: str) -> None:
        raise CameraError(f"{self._subject}: {key}", reason, remedy)
