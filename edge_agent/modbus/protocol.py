"""What client and device have in common ("MODBUS Application Protocol Specification V1.1b3", and "MODBUS Messaging on
TCP/IP Implementation Guide V1.0b" for the header).
"""

from __future__ import annotations

import struct
from typing import Tuple

READ_COILS, READ_REGISTERS, WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS = 1, 3, 5, 6, 16

#: transaction, protocol (0), bytes that follow, unit
HEADER = struct.Struct(">HHHB")
MAX_PDU = 253
WORD = 0xFFFF

#: The value of a coil that is on; 0 is off.
ON = 0xFF00

#: Set in the function's code of an answer that refuses.
EXCEPTION = 0x80
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
EXCEPTIONS = {
    ILLEGAL_FUNCTION: "the function is not supported",
    ILLEGAL_ADDRESS: "there is no such address",
    ILLEGAL_VALUE: "a value is not allowed",
    4: "the device failed",
    6: "the device is busy",
    11: "the unit behind the gateway does not answer",
}


def split(value: int) -> Tuple[int, int]:
    """A number of 32 bits as two registers, the high one first."""
    return (value >> 16) & WORD, value & WORD


def join(high: int, low: int) -> int:
    """Two registers as a number."""
    return high << 16 | low
