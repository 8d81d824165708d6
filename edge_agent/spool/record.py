"""The bytes of the spool: every inspection and every state of the books is a frame with its own checksum.

    4 bytes magic | u32 CRC-32 of everything after it | u32 length of the payload | payload      (big-endian)

Payload of an inspection:

    u64 id | u64 wall clock when it came, ns | u64 sequence | u8 anomalous | u8 length of the lane's name | name | JSON

Payload of marks and books: JSON. A frame is found and trusted by itself wherever its bytes lie, also where the
database around it is lost; that is what recovery stands on.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Tuple, Union

_PREFIX = b"\x9dE"
_INSPECTION = _PREFIX + b"I\x01"
_MARKS = _PREFIX + b"M\x01"
_BOOK = _PREFIX + b"B\x01"
_HEAD = struct.Struct(">4sII")
_FIELDS = struct.Struct(">QQQBB")
_CHECKED_FROM = 8

#: A whole frame fits into one page of the database (8,192 bytes less what SQLite keeps there), so that the loss of
#: a page never costs half an inspection.
MAX_FRAME_BYTES = 8_100
#: Bytes of one inspection's JSON, whatever its lane's name; `Inspection.to_json` stays below 7,000.
MAX_BODY_BYTES = MAX_FRAME_BYTES - _HEAD.size - _FIELDS.size - 255


def frame_size(lane: str, body: bytes) -> int:
    """Bytes of an inspection's frame."""
    return _HEAD.size + _FIELDS.size + len(lane) + len(body)


class Record(NamedTuple):
    """One inspection on disk. Ids go up by one with each, over all lanes, and are never used twice."""

    id: int
    stored_at_ns: int
    lane: str
    sequence: int
    anomalous: bool
    body: bytes

    def encode(self) -> bytes:
        lane = self.lane.encode()
        fields = _FIELDS.pack(self.id, self.stored_at_ns, self.sequence, self.anomalous, len(lane))
        return _frame(_INSPECTION, fields + lane + self.body)


@dataclass(frozen=True)
class Marks:
    """How far the whole spool is; the highest version is the newest.

    Attributes:
        version: goes up with each transaction.
        floor: every id up to it is settled.
        taken: ids after `floor` up to it were out for delivery.
        evicted: every id after `taken` up to it was expired by the policy.
        evicted_normal: the same, of inspections that are not anomalous.
    """

    version: int = 0
    floor: int = 0
    taken: int = 0
    evicted: int = 0
    evicted_normal: int = 0

    def encode(self) -> bytes:
        return _frame(_MARKS, _json(vars(self)))

    def newest(self, other: Marks) -> Marks:
        """The newer of the two, with the higher floor."""
        newer = max(self, other, key=lambda marks: marks.version)
        return replace(newer, floor=max(self.floor, other.floor))

    def highest(self) -> int:
        """Ids up to it mean something here already, also where no such inspection is left."""
        return max(self.floor, self.taken, self.evicted, self.evicted_normal)

    def settled(self, record: Record) -> bool:
        """Whether the record is an old copy of one that was delivered or expired."""
        if record.id <= self.floor:
            return True
        gone = self.evicted if record.anomalous else max(self.evicted, self.evicted_normal)
        return self.taken < record.id <= gone


@dataclass
class Book:
    """One lane's books since its spool was made: inspected = delivered + waiting here + expired.

    Attributes:
        lane: its name.
        version: goes up with each transaction that changes the book.
        reserved: sequence numbers up to it may have been given to frames.
        inspected: inspections that the disk took, or that left memory without it.
    """

    lane: str
    version: int = 0
    reserved: int = 0
    inspected: int = 0
    delivered: int = 0
    expired: Counter[str] = field(default_factory=Counter)

    @property
    def waiting(self) -> int:
        return self.inspected - self.delivered - sum(self.expired.values())

    def copy(self) -> Book:
        return Book(self.lane, self.version, self.reserved, self.inspected, self.delivered, Counter(self.expired))

    def as_dict(self) -> Dict[str, Any]:
        return {
            "inspected": self.inspected,
            "delivered": self.delivered,
            "spooled": self.waiting,
            "expired": dict(self.expired),
            "reserved_sequence": self.reserved,
        }

    def encode(self) -> bytes:
        return _frame(_BOOK, _json({**vars(self), "expired": dict(self.expired)}))


Frame = Union[Record, Marks, Book]


def decode(data: bytes, offset: int = 0) -> Optional[Frame]:
    """The frame that begins at `offset`; None where there is none or a byte of it is wrong."""
    if offset + _HEAD.size > len(data):
        return None
    magic, checksum, size = _HEAD.unpack_from(data, offset)
    end = offset + _HEAD.size + size
    if magic not in _READERS or size > MAX_FRAME_BYTES or end > len(data):
        return None
    if zlib.crc32(data[offset + _CHECKED_FROM : end], zlib.crc32(magic)) != checksum:
        return None
    try:
        return _READERS[magic](data[offset + _HEAD.size : end])
    except (TypeError, KeyError, ValueError, struct.error):  # whole, and of a form of another time
        return None


def scan(data: bytes) -> Iterator[Tuple[int, Frame]]:
    """Every whole frame in `data` with its offset, whatever lies between them."""
    offset = data.find(_PREFIX)
    while offset >= 0:
        frame = decode(data, offset)
        if frame is not None:
            yield offset, frame
        offset = data.find(_PREFIX, offset + 1)


def _record(payload: bytes) -> Record:
    number, stored_at_ns, sequence, anomalous, length = _FIELDS.unpack_from(payload)
    body = _FIELDS.size + length
    return Record(
        number, stored_at_ns, payload[_FIELDS.size : body].decode(), sequence, bool(anomalous), payload[body:]
    )


def _marks(payload: bytes) -> Marks:
    return Marks(**json.loads(payload))


def _book(payload: bytes) -> Book:
    values = json.loads(payload)
    return Book(**{**values, "expired": Counter(values["expired"])})


_READERS: Dict[bytes, Callable[[bytes], Frame]] = {_INSPECTION: _record, _MARKS: _marks, _BOOK: _book}


def _frame(magic: bytes, payload: bytes) -> bytes:
    checked = struct.pack(">I", len(payload)) + payload
    return magic + struct.pack(">I", zlib.crc32(checked, zlib.crc32(magic))) + checked


def _json(values: Dict[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode("ascii")
