"""The registers of the simulated camera: GigE Vision's bootstrap registers and the camera's features.

A controller reads and writes bytes at addresses; the camera itself reads and sets values by name. What a controller
may not write, or must not, is refused with GigE Vision's own status.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Optional

from edge_agent.gige_simulator.features import (
    ADDRESSES,
    BY_ADDRESS,
    DESCRIPTION_ADDRESS,
    FIRST_ADDRESS,
    Feature,
    Number,
    describe,
)
from edge_agent.gige_simulator.formats import WIRE_FORMATS, WireFormat
from edge_agent.gige_simulator.gvcp import RefusedError, Status

# Bootstrap registers, by GigE Vision's names.
VERSION, DEVICE_MODE, MAC_HIGH, MAC_LOW = 0x0, 0x4, 0x8, 0xC
IP_OPTIONS, IP_CONFIGURATION, IP_ADDRESS, SUBNET_MASK = 0x10, 0x14, 0x24, 0x34
MANUFACTURER, MODEL, DEVICE_VERSION, MANUFACTURER_INFO, SERIAL, USER_NAME = 0x48, 0x68, 0x88, 0xA8, 0xD8, 0xE8
FIRST_URL, NETWORK_INTERFACES, STREAM_CHANNELS, CAPABILITY = 0x200, 0x600, 0x904, 0x934
HEARTBEAT_TIMEOUT, TICKS_HIGH, TICKS_LOW = 0x938, 0x93C, 0x940
CONTROL_PRIVILEGE = 0xA00
STREAM_PORT, PACKET_SIZE, PACKET_DELAY, STREAM_ADDRESS = 0xD00, 0xD04, 0xD08, 0xD18

_BOOTSTRAP_SIZE = 0x1000
DISCOVERY_SIZE = 0xF8

# Writing of memory, resending, serial number and user name registers.
_CAPABILITIES = (1 << 1) | (1 << 2) | (1 << 30) | (1 << 31)

# In the packet size register: send one packet of that size as a trial; the rest is flags and the size.
FIRE_TEST_PACKET = 1 << 31
SIZE_MASK = PORT_MASK = 0xFFFF
_SMALLEST_PACKET = 576

_WRITABLE = {HEARTBEAT_TIMEOUT, CONTROL_PRIVILEGE, STREAM_PORT, PACKET_SIZE, PACKET_DELAY, STREAM_ADDRESS}
_LEAST_HEARTBEAT_MS = 500
#: Of the camera's clock, in a second.
TICKS = 1_000_000_000

_WORD = struct.Struct(">I")
_FLOAT = struct.Struct(">d")


class Registers:
    """Memory as a controller sees it, and the values in it by name.

    Args:
        address: of the camera, IPv4.
        serial: its serial number, at most 15 characters.
        width: of the sensor, pixels.
        height: of the sensor, pixels.
        rate: images a second in free run.
    """

    def __init__(self, address: str, serial: str, width: int, height: int, rate: float) -> None:
        model = "Simulator"
        description = describe("EdgeAgent", model)
        # A description of whole words: it is read in words.
        description += b"\n" * (-len(description) % 4)
        self._bootstrap = bytearray(_BOOTSTRAP_SIZE)
        self._features = bytearray(max(ADDRESSES.values()) + 8 - FIRST_ADDRESS)
        self._areas = {0: self._bootstrap, FIRST_ADDRESS: self._features, DESCRIPTION_ADDRESS: bytearray(description)}
        where = int(ipaddress.IPv4Address(address))
        words = {
            # GigE Vision 1.2; big-endian, UTF-8; a MAC address of the locally administered kind.
            VERSION: 0x0001_0002,
            DEVICE_MODE: 0x8000_0001,
            MAC_HIGH: 0x0200,
            MAC_LOW: where,
            # Persistent address, and that it is in use.
            IP_OPTIONS: 0x0000_0005,
            IP_CONFIGURATION: 0x0000_0005,
            IP_ADDRESS: where,
            SUBNET_MASK: 0xFF00_0000,
            NETWORK_INTERFACES: 1,
            STREAM_CHANNELS: 1,
            CAPABILITY: _CAPABILITIES,
            HEARTBEAT_TIMEOUT: 3000,
            TICKS_LOW: TICKS,
            PACKET_SIZE: 1400,
        }
        for register, word in words.items():
            self.set_word(register, word)
        url = f"Local:edge-agent-simulator.xml;{DESCRIPTION_ADDRESS:x};{len(description):x}"
        texts = {
            MANUFACTURER: "EdgeAgent",
            MODEL: model,
            DEVICE_VERSION: "1",
            MANUFACTURER_INFO: "simulated camera",
            SERIAL: serial,
            FIRST_URL: url,
        }
        for register, text in texts.items():
            self._bootstrap[register : register + len(text)] = text.encode("ascii")
        for name, value in {"SensorWidth": width, "SensorHeight": height, "Width": width, "Height": height}.items():
            self.set(name, value)
        self.set("PixelFormat", WIRE_FORMATS["Mono8"].code)
        self.set("AcquisitionFrameRate", rate)
        self.set("ExposureTime", 10_000.0)
        self._update_payload()

    def word(self, register: int) -> int:
        return int(_WORD.unpack_from(self._bootstrap, register)[0])

    def set_word(self, register: int, value: int) -> None:
        _WORD.pack_into(self._bootstrap, register, value)

    def integer(self, name: str) -> int:
        return int(self._value(name))

    def number(self, name: str) -> float:
        return float(self._value(name))

    def entry(self, name: str) -> str:
        """The name of the entry that an enumeration is at."""
        feature, value = BY_ADDRESS[ADDRESSES[name]], self._value(name)
        return next(entry for entry, code in feature.entries.items() if code == value)

    def set(self, name: str, value: Number) -> None:
        feature = BY_ADDRESS[ADDRESSES[name]]
        layout = _FLOAT if feature.kind == "Float" else _WORD
        layout.pack_into(self._features, ADDRESSES[name] - FIRST_ADDRESS, value)

    @property
    def wire_format(self) -> WireFormat:
        return WIRE_FORMATS[self.entry("PixelFormat")]

    def read(self, address: int, size: int) -> bytes:
        """Raises RefusedError where there is no register."""
        for begin, area in self._areas.items():
            if begin <= address and address + size <= begin + len(area):
                return bytes(area[address - begin : address - begin + size])
        raise RefusedError(Status.INVALID_ADDRESS)

    def write(self, address: int, data: bytes) -> Optional[Feature]:
        """Write one register; the feature that it belongs to, if it does.

        Raises:
            RefusedError: no such register, not to be written, or a value that it cannot have.
        """
        feature = BY_ADDRESS.get(address)
        if feature is not None:
            self._write_feature(feature, data)
        elif address in _WRITABLE and len(data) == _WORD.size:
            self._write_word(address, int(_WORD.unpack(data)[0]))
        elif address >= USER_NAME and address + len(data) <= DISCOVERY_SIZE:
            self._bootstrap[address : address + len(data)] = data
        else:
            self.read(address, len(data))
            raise RefusedError(Status.WRITE_PROTECT)
        return feature

    def _value(self, name: str) -> Number:
        feature = BY_ADDRESS[ADDRESSES[name]]
        layout = _FLOAT if feature.kind == "Float" else _WORD
        value: Number = layout.unpack_from(self._features, ADDRESSES[name] - FIRST_ADDRESS)[0]
        return value

    def _write_word(self, address: int, value: int) -> None:
        if address == HEARTBEAT_TIMEOUT:
            value = max(value, _LEAST_HEARTBEAT_MS)
        if address == PACKET_SIZE:
            size = value & SIZE_MASK
            # Whole words, as most cameras have it.
            value = value & ~SIZE_MASK & ~FIRE_TEST_PACKET | max(size - size % 4, _SMALLEST_PACKET)
        self.set_word(address, value)

    def _write_feature(self, feature: Feature, data: bytes) -> None:
        if not feature.writable:
            raise RefusedError(Status.WRITE_PROTECT)
        if len(data) != feature.size:
            raise RefusedError(Status.BAD_ALIGNMENT)
        value: Number = (_FLOAT if feature.kind == "Float" else _WORD).unpack(data)[0]
        before = self._value(feature.name)
        self.set(feature.name, value)
        if not self._is_sound(feature, value):
            self.set(feature.name, before)
            raise RefusedError(Status.INVALID_PARAMETER)
        self._update_payload()

    def _is_sound(self, feature: Feature, value: Number) -> bool:
        if feature.kind == "Command":
            return True
        if feature.kind == "Enumeration":
            return value in feature.entries.values() and self._fits()
        most = self._value(feature.most) if isinstance(feature.most, str) else feature.most
        on_step = feature.kind == "Float" or int(value - feature.least) % feature.step == 0
        return feature.least <= value <= most and on_step and self._fits()

    def _fits(self) -> bool:
        """The region lies on the sensor, and its rows are whole bytes."""
        right = self.integer("OffsetX") + self.integer("Width")
        bottom = self.integer("OffsetY") + self.integer("Height")
        on_sensor = right <= self.integer("SensorWidth") and bottom <= self.integer("SensorHeight")
        return on_sensor and self.integer("Width") % self.wire_format.group == 0

    def _update_payload(self) -> None:
        self.set("PayloadSize", self.wire_format.size(self.integer("Width"), self.integer("Height")))
