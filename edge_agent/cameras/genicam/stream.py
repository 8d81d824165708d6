"""The images of one open camera: Aravis' stream and its buffers."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int, c_size_t
from dataclasses import dataclass
from typing import Dict, Optional

import numpy as np

from edge_agent.cameras.genicam.aravis import aravis
from edge_agent.cameras.genicam.device import Device
from edge_agent.cameras.genicam.pixels import Bytes
from edge_agent.cameras.genicam.settings import NetworkSettings

# ArvGvStreamSocketBuffer: a size that we give.
_SOCKET_BUFFER_FIXED = 0

# Images that the kernel may hold back for us, as far as it allows (net.core.rmem_max). One is too few: the kernel
# counts what a packet takes, which is more than what is in it.
_SOCKET_BUFFER_IMAGES = 4

# ArvBufferStatus; the rest are faults.
_SUCCESS, _CLEARED, _ABORTED = 0, 1, 7
_FAULTS = {2: "timeout", 3: "missing packets", 4: "wrong packet id", 5: "size mismatch"}

# ArvBufferPayloadType: an image, alone or with chunks after it.
_IMAGES = frozenset((1, 4, 5))

_COUNTERS = {"underruns": "n_underruns"}
_PACKET_COUNTERS = {
    "packets_resent": "n_resent_packets",
    "packets_missing": "n_missing_packets",
    "resend_requests": "n_resend_requests",
}


@dataclass(frozen=True)
class Arrived:
    """One image as it came.

    Attributes:
        buffer: to be given back.
        frame_id: the camera's own number of it.
        fault: why it is not whole; empty where it is.
    """

    buffer: int
    frame_id: int
    fault: str


@dataclass(frozen=True)
class Image:
    """What a whole one is.

    Attributes:
        system_ns: wall clock of its first packet, nanoseconds.
        pixel_format: PFNC number.
        width: pixels.
        height: pixels.
        padding: bytes after each row.
        data: lies in the stream's buffer, and is gone when that is given back.
    """

    system_ns: int
    pixel_format: int
    width: int
    height: int
    padding: int
    data: Bytes


class Stream:
    """Buffers going round between Aravis' receiving thread and us.

    Args:
        device: set up already: its payload is the size of the buffers.
        buffers: how many.
        network: how a GigE Vision camera sends.
    """

    def __init__(self, device: Device, buffers: int, network: NetworkSettings) -> None:
        self._aravis = aravis()
        size = device.payload()
        self._stream = device.create_stream()
        self._counters = {**_COUNTERS, **(_PACKET_COUNTERS if device.is_gige else {})}
        if device.is_gige:
            self._aravis.set_property(self._stream, "packet-resend", int(network.resend))
            self._aravis.set_property(self._stream, "frame-retention", network.frame_retention_ms * 1000)
            self._aravis.set_property(self._stream, "socket-buffer", _SOCKET_BUFFER_FIXED)
            self._aravis.set_property(self._stream, "socket-buffer-size", _SOCKET_BUFFER_IMAGES * size)
        for _ in range(buffers):
            self.give_back(self._aravis.call("arv_buffer_new_allocate", size))

    def close(self) -> None:
        """End the receiving thread and free the buffers."""
        if self._stream:
            self._aravis.unref(self._stream)
            self._stream = 0

    def pop(self, timeout: float) -> Optional[Arrived]:
        """The next image, whole or not; None when none came within `timeout` seconds."""
        buffer = self._aravis.call("arv_stream_timeout_pop_buffer", self._stream, max(1, int(timeout * 1e6)))
        if not buffer:
            return None
        status = self._get(buffer, "status")
        if status in (_CLEARED, _ABORTED):
            self.give_back(buffer)
            return None
        fault = _FAULTS.get(status, "" if status == _SUCCESS else f"status {status}")
        if not fault and self._get(buffer, "payload_type") not in _IMAGES:
            fault = f"payload type {self._get(buffer, 'payload_type')} instead of an image"
        return Arrived(buffer, self._get(buffer, "frame_id"), fault)

    def image(self, arrived: Arrived) -> Image:
        """What came; only of an image without a fault: of others the library may know no size."""
        buffer = arrived.buffer
        return Image(
            system_ns=self._get(buffer, "system_timestamp"),
            pixel_format=self._get(buffer, "image_pixel_format"),
            width=self._get(buffer, "image_width"),
            height=self._get(buffer, "image_height"),
            padding=self._padding(buffer),
            data=self._data(buffer),
        )

    def give_back(self, buffer: int) -> None:
        """Let the next image into the buffer."""
        self._aravis.call("arv_stream_push_buffer", self._stream, buffer)

    def counters(self) -> Dict[str, int]:
        """Since the stream was made, by the names of GenicamCamera.counters."""
        return {
            name: int(self._aravis.call("arv_stream_get_info_uint64_by_name", self._stream, info))
            for name, info in self._counters.items()
        }

    def _get(self, buffer: int, what: str) -> int:
        return int(self._aravis.call(f"arv_buffer_get_{what}", buffer))

    def _padding(self, buffer: int) -> int:
        if not self._aravis.has("arv_buffer_get_image_padding"):
            return 0
        beside, below = c_int(), c_int()
        self._aravis.call("arv_buffer_get_image_padding", buffer, byref(beside), byref(below))
        return beside.value

    def _data(self, buffer: int) -> Bytes:
        size = c_size_t()
        address = self._aravis.call("arv_buffer_get_data", buffer, byref(size))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size.value).from_address(address))
