"""GVSP, the stream protocol of GigE Vision: one image as a leader, packets of its bytes, and a trailer.

Block numbers have 16 bits, packet numbers 24; names and numbers are those of the GigE Vision standard.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Tuple

#: Of a packet's size, what is not the image: IP, UDP and GVSP headers.
OVERHEAD = 20 + 8 + 8
UDP_OVERHEAD = 20 + 8

_LEADER, _TRAILER, _PAYLOAD = 1, 2, 3
_IMAGE = 1
_UNAVAILABLE = 0x800C

#: A packet in two parts, so that the image's bytes are not copied to put a header before them.
Packet = Tuple[bytes, memoryview]
_NOTHING = memoryview(b"")


@dataclass(frozen=True)
class Block:
    """One image on its way.

    Attributes:
        number: 1 to 65535, then from 1 again.
        timestamp_ns: the camera's own clock.
        pixel_format: PFNC number.
        region: x, y, width, height.
        data: the image as it goes over the wire.
        packet_size: bytes of a packet with its headers.
    """

    number: int
    timestamp_ns: int
    pixel_format: int
    region: Tuple[int, int, int, int]
    data: bytes
    packet_size: int

    @property
    def packets(self) -> int:
        """How many packets it has, leader and trailer with them."""
        return -(-len(self.data) // (self.packet_size - OVERHEAD)) + 2

    def packet(self, number: int) -> Packet:
        """One of its packets; 0 is the leader."""
        if number == 0:
            return self._leader(), _NOTHING
        if number == self.packets - 1:
            trailer = struct.pack(">HHI", 0, _IMAGE, self.region[3])
            return _header(self.number, _TRAILER, number) + trailer, _NOTHING
        room = self.packet_size - OVERHEAD
        begin = (number - 1) * room
        return _header(self.number, _PAYLOAD, number), memoryview(self.data)[begin : begin + room]

    def _leader(self) -> bytes:
        x, y, width, height = self.region
        return _header(self.number, _LEADER, 0) + struct.pack(
            ">HHQIIIIIHH", 0, _IMAGE, self.timestamp_ns, self.pixel_format, width, height, x, y, 0, 0
        )


def unavailable(block: int, number: int) -> bytes:
    """The answer to a request for a packet that is no longer there."""
    return struct.pack(">HHI", _UNAVAILABLE, block, (_PAYLOAD << 24) | number)


def probe_packet(size: int) -> bytes:
    """A datagram that makes an IP packet of `size` bytes: whether it comes tells whether that size can be used."""
    return bytes(size - UDP_OVERHEAD)


def _header(block: int, kind: int, number: int) -> bytes:
    return struct.pack(">HHI", 0, block, (kind << 24) | number)
