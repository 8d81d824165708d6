"""GVCP, the control protocol of GigE Vision, as a camera speaks it: one command in a datagram, one answer to it.

Written after the packets that controllers and cameras exchange; names and numbers are those of the GigE Vision
standard. All numbers are big-endian.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Optional

PORT = 3956

DISCOVERY, PACKET_RESEND = 0x0002, 0x0040
READ_REGISTER, WRITE_REGISTER, READ_MEMORY, WRITE_MEMORY = 0x0080, 0x0082, 0x0084, 0x0086

_KEY = 0x42
_ACKNOWLEDGE = 0x01
_EXTENDED_IDS = 0x10
_HEADER = struct.Struct(">BBHHH")

#: The largest read or write of memory in one command, in bytes.
MAX_MEMORY = 536


class Status:
    """Why a command is refused."""

    NOT_IMPLEMENTED = 0x8001
    INVALID_PARAMETER = 0x8002
    INVALID_ADDRESS = 0x8003
    WRITE_PROTECT = 0x8004
    BAD_ALIGNMENT = 0x8005
    ACCESS_DENIED = 0x8006


class RefusedError(Exception):
    """The command cannot be done."""

    def __init__(self, status: int) -> None:
        super().__init__(f"0x{status:04x}")
        self.status = status


class Command(NamedTuple):
    """One command.

    Attributes:
        code: what is asked for.
        wants_answer: whether the controller waits for one.
        request: the controller's number of it, repeated in the answer.
        body: what follows the header.
        extended: whether block numbers have 64 bits.
    """

    code: int
    wants_answer: bool
    request: int
    body: bytes
    extended: bool


def parse(datagram: bytes) -> Optional[Command]:
    """The command in a datagram; None where there is none, or not a whole one."""
    if len(datagram) < _HEADER.size:
        return None
    key, flags, code, length, request = _HEADER.unpack_from(datagram)
    if key != _KEY or len(datagram) < _HEADER.size + length:
        return None
    body = datagram[_HEADER.size : _HEADER.size + length]
    return Command(code, bool(flags & _ACKNOWLEDGE), request, body, bool(flags & _EXTENDED_IDS))


def answer(command: Command, body: bytes = b"", status: int = 0) -> bytes:
    """The acknowledgement of a command; its code is the command's, plus one."""
    return struct.pack(">HHHH", status, command.code + 1, len(body), command.request) + body


class Resend(NamedTuple):
    """Packets that a receiver misses: of which image, the first and the last."""

    block: int
    first: int
    last: int


def parse_resend(command: Command) -> Optional[Resend]:
    """What is asked for again; None where the command is not whole, or asks with block numbers that we do not use."""
    if len(command.body) < 12 or command.extended:
        return None
    _channel, block, first, last = struct.unpack_from(">HHII", command.body)
    return Resend(block, first & 0xFFFFFF, last & 0xFFFFFF)
