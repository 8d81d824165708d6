"""Frames of the Greengrass IPC protocol (AWS event stream), as bytes and as messages.

One frame, all integers big-endian:

    u32 total length | u32 length of the headers | u32 CRC-32 of these eight bytes
    headers          | payload                   | u32 CRC-32 of everything before it

One header: u8 length of the name, the name in UTF-8, u8 type, the value. Every frame of the protocol carries the
32-bit headers `:message-type`, `:message-flags` and `:stream-id`.
"""

from __future__ import annotations

import enum
import struct
import zlib
from dataclasses import dataclass
from typing import Iterator, List, Optional, Tuple, Union

from edge_agent.errors import EventStreamError

PRELUDE_BYTES = 12
TRAILER_BYTES = 4
#: Bytes of a frame that are neither header nor payload.
OVERHEAD_BYTES = PRELUDE_BYTES + TRAILER_BYTES
#: The largest frame that AWS's own library reads or writes.
MAX_FRAME_BYTES = 24 * 1024 * 1024
#: The largest block of headers that AWS's own library reads or writes.
MAX_HEADERS_BYTES = 128 * 1024

TYPE_HEADER = ":message-type"
FLAGS_HEADER = ":message-flags"
STREAM_HEADER = ":stream-id"
VERSION_HEADER = ":version"
CONTENT_TYPE_HEADER = ":content-type"
MODEL_HEADER = "service-model-type"
OPERATION_HEADER = "operation"
JSON_CONTENT = "application/json"
PROTOCOL_VERSION = "0.1.0"

FLAG_CONNECTION_ACCEPTED = 1
FLAG_TERMINATE_STREAM = 2


class MessageType(enum.IntEnum):
    APPLICATION_MESSAGE = 0
    APPLICATION_ERROR = 1
    PING = 2
    PING_RESPONSE = 3
    CONNECT = 4
    CONNECT_ACK = 5
    PROTOCOL_ERROR = 6
    INTERNAL_ERROR = 7


class HeaderType(enum.IntEnum):
    BOOL_TRUE = 0
    BOOL_FALSE = 1
    BYTE = 2
    INT16 = 3
    INT32 = 4
    INT64 = 5
    BYTES = 6
    STRING = 7
    TIMESTAMP = 8
    UUID = 9


HeaderValue = Union[bool, int, bytes, str]

_NUMBERS = {
    HeaderType.BYTE: struct.Struct(">b"),
    HeaderType.INT16: struct.Struct(">h"),
    HeaderType.INT32: struct.Struct(">i"),
    HeaderType.INT64: struct.Struct(">q"),
    HeaderType.TIMESTAMP: struct.Struct(">q"),
}
_LENGTH = struct.Struct(">H")
_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_UUID_BYTES = 16


@dataclass(frozen=True)
class Header:
    """One header. `value` is bool for the two boolean types, int for numbers and timestamps (milliseconds since
    1970-01-01 UTC), bytes for BYTES and UUID (16 bytes), str for STRING.
    """

    name: str
    type: HeaderType
    value: HeaderValue

    @staticmethod
    def text(name: str, value: str) -> Header:
        return Header(name, HeaderType.STRING, value)

    @staticmethod
    def int32(name: str, value: int) -> Header:
        return Header(name, HeaderType.INT32, value)


@dataclass(frozen=True)
class Message:
    """One decoded frame."""

    headers: Tuple[Header, ...]
    payload: bytes = b""

    def find(self, name: str, kind: HeaderType) -> Optional[HeaderValue]:
        """Value of the first header of this name and type; names are compared without case, as the clients do."""
        wanted = name.lower()
        for header in self.headers:
            if header.name.lower() == wanted and header.type is kind:
                return header.value
        return None

    def text(self, name: str) -> Optional[str]:
        value = self.find(name, HeaderType.STRING)
        return value if isinstance(value, str) else None

    def routing(self) -> Tuple[int, int, int]:
        """Message type, flags and stream id; EventStreamError when one of the three headers is missing."""
        numbers = []
        for name in (TYPE_HEADER, FLAGS_HEADER, STREAM_HEADER):
            value = self.find(name, HeaderType.INT32)
            if not isinstance(value, int):
                raise EventStreamError("event-stream frame", f"carries no 32-bit header {name}")
            numbers.append(value)
        return numbers[0], numbers[1], numbers[2]


def rpc_message(
    kind: MessageType, flags: int, stream: int, extra: Tuple[Header, ...] = (), payload: bytes = b""
) -> bytes:
    """A frame with the three routing headers, then `extra`."""
    headers = (
        Header.int32(TYPE_HEADER, int(kind)),
        Header.int32(FLAGS_HEADER, flags),
        Header.int32(STREAM_HEADER, stream),
    )
    return encode(Message(headers + extra, payload))


def encode(message: Message) -> bytes:
    """The bytes of one frame; EventStreamError when a header or the whole does not fit the format."""
    headers = b"".join(_encode_header(header) for header in message.headers)
    total = OVERHEAD_BYTES + len(headers) + len(message.payload)
    if len(headers) > MAX_HEADERS_BYTES or total > MAX_FRAME_BYTES:
        raise EventStreamError("event-stream frame", f"of {total} bytes ({len(headers)} of headers) is too large")
    lengths = struct.pack(">II", total, len(headers))
    body = lengths + _CRC.pack(zlib.crc32(lengths)) + headers + message.payload
    return body + _CRC.pack(zlib.crc32(body))


def _encode_header(header: Header) -> bytes:
    name = header.name.encode()
    if not 1 <= len(name) <= 255:
        raise EventStreamError("event-stream header", f"has a name of {len(name)} bytes, not 1 to 255")
    return bytes([len(name)]) + name + bytes([header.type]) + _encode_value(header)


def _encode_value(header: Header) -> bytes:
    value = header.value
    if header.type in (HeaderType.BOOL_TRUE, HeaderType.BOOL_FALSE) and isinstance(value, bool):
        return b""
    if header.type in _NUMBERS and isinstance(value, int):
        try:
            return _NUMBERS[header.type].pack(value)
        except struct.error as error:
            raise EventStreamError(f"event-stream header {header.name}", f"cannot hold {value}") from error
    if header.type is HeaderType.STRING and isinstance(value, str):
        return _sized(header.name, value.encode())
    if header.type is HeaderType.BYTES and isinstance(value, bytes):
        return _sized(header.name, value)
    if header.type is HeaderType.UUID and isinstance(value, bytes) and len(value) == _UUID_BYTES:
        return value
    raise EventStreamError(f"event-stream header {header.name}", f"of type {header.type.name} cannot hold {value!r}")


def _sized(name: str, value: bytes) -> bytes:
    # 32,767 is the limit of AWS's library, although the length field has sixteen bits.
    if len(value) > 0x7FFF:
        raise EventStreamError(f"event-stream header {name}", f"has a value of {len(value)} bytes; 32767 is the most")
    return _LENGTH.pack(len(value)) + value


class Decoder:
    """Takes bytes as they arrive, in pieces of any size, and gives whole messages.

    Args:
        max_frame_bytes: the largest frame accepted, prelude and checksums included.

    After an EventStreamError the stream of bytes has no frame border any more: drop the connection.
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max = max_frame_bytes
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """True while the beginning of a frame waits for its rest."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Add bytes and give every message they complete."""
        self._buffer += data
        while True:
            size = self._frame_size()
            if size is None or len(self._buffer) < size:
                return
            frame = bytes(self._buffer[:size])
            del self._buffer[:size]
            yield decode(frame)

    def _frame_size(self) -> Optional[int]:
        if len(self._buffer) < PRELUDE_BYTES:
            return None
        total, headers, checksum = _PRELUDE.unpack_from(self._buffer)
        if zlib.crc32(bytes(self._buffer[:8])) != checksum:
            raise EventStreamError("event-stream frame", "has a wrong checksum over its lengths")
        if total > self._max:
            raise EventStreamError("event-stream frame", f"of {total} bytes is over the limit of {self._max}")
        if total < OVERHEAD_BYTES + headers or headers > MAX_HEADERS_BYTES:
            raise EventStreamError("event-stream frame", f"of {total} bytes cannot hold {headers} bytes of headers")
        return int(total)


def decode(frame: bytes) -> Message:
    """The message in exactly one frame; EventStreamError when lengths, checksums or headers are wrong."""
    if len(frame) < OVERHEAD_BYTES:
        raise EventStreamError("event-stream frame", f"of {len(frame)} bytes is shorter than {OVERHEAD_BYTES}")
    total, size, checksum = _PRELUDE.unpack_from(frame)
    if zlib.crc32(frame[:8]) != checksum:
        raise EventStreamError("event-stream frame", "has a wrong checksum over its lengths")
    if total != len(frame) or size > total - OVERHEAD_BYTES:
        raise EventStreamError("event-stream frame", f"of {len(frame)} bytes says {total}, with {size} of headers")
    if zlib.crc32(frame[:-TRAILER_BYTES]) != _CRC.unpack_from(frame, total - TRAILER_BYTES)[0]:
        raise EventStreamError("event-stream frame", "has a wrong checksum")
    end = PRELUDE_BYTES + size
    return Message(tuple(_decode_headers(frame[PRELUDE_BYTES:end])), frame[end:-TRAILER_BYTES])


def _decode_headers(data: bytes) -> List[Header]:
    headers = []
    position = 0
    try:
        while position < len(data):
            header, position = _decode_header(data, position)
            headers.append(header)
    except (IndexError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise EventStreamError("event-stream frame", "has headers that are cut short or malformed") from error
    return headers


def _decode_header(data: bytes, position: int) -> Tuple[Header, int]:
    name_end = position + 1 + data[position]
    name = _take(data, position + 1, name_end).decode()
    kind = HeaderType(data[name_end])
    start = name_end + 1
    if kind in (HeaderType.BOOL_TRUE, HeaderType.BOOL_FALSE):
        return Header(name, kind, kind is HeaderType.BOOL_TRUE), start
    if kind in _NUMBERS:
        number: int = _NUMBERS[kind].unpack_from(data, start)[0]
        return Header(name, kind, number), start + _NUMBERS[kind].size
    size = _UUID_BYTES
    if kind is not HeaderType.UUID:
        size = _LENGTH.unpack_from(data, start)[0]
        start += _LENGTH.size
    value = _take(data, start, start + size)
    return Header(name, kind, value.decode() if kind is HeaderType.STRING else value), start + size


def _take(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise IndexError(end)
    return data[start:end]
