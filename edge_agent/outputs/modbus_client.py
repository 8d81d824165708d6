"""Modbus TCP, as far as an output needs it ("MODBUS Application Protocol Specification V1.1b3", and "MODBUS Messaging on
TCP/IP Implementation Guide V1.0b" for the header).

Why not a library: pymodbus renames the arguments of its calls between the versions that Python 3.8 and 3.13 have, logs
every failure as an error, and measures its time-outs on the wall clock, which may step.
"""

from __future__ import annotations

import socket
import struct
from typing import List, Optional, Sequence

from edge_agent.clock import Clock
from edge_agent.errors import OutputError, OutputNotConnectedError, OutputTimeoutError

READ_COILS, READ_REGISTERS, WRITE_COIL, WRITE_REGISTERS = 1, 3, 5, 16

# transaction, protocol (0), bytes that follow, unit
_HEADER = struct.Struct(">HHHB")
_MAX_PDU = 253
_ON = 0xFF00
_EXCEPTION = 0x80
_EXCEPTIONS = {
    1: "the function is not supported",
    2: "there is no such address",
    3: "a value is not allowed",
    4: "the device failed",
    6: "the device is busy",
    11: "the unit behind the gateway does not answer",
}


class ModbusClient:
    """One connection, one request at a time. After an error: `close`, and `connect` again.

    Args:
        host, port: of the device.
        unit: 0 to 255.
        timeout_s: seconds that connecting may take, and one request with its answer.
        clock: time.
    """

    def __init__(self, host: str, port: int, unit: int, timeout_s: float, clock: Clock) -> None:
        self._address = (host, port)
        self._unit = unit
        self._timeout_s = timeout_s
        self._clock = clock
        self._subject = f"modbus {host}:{port}"
        self._socket: Optional[socket.socket] = None
        self._transaction = 0

    def connect(self) -> None:
        """Raises OutputNotConnectedError or OutputTimeoutError."""
        self.close()
        try:
            self._socket = socket.create_connection(self._address, self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except socket.timeout as error:
            raise OutputTimeoutError(self._subject, f"no connection within {self._timeout_s:g} s") from error
        except (OSError, UnicodeError) as error:
            raise OutputNotConnectedError(self._subject, f"cannot be reached ({error})") from error

    def close(self) -> None:
        """Any number of times."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def write_coil(self, address: int, *, on: bool) -> None:
        """Set one coil. Raises OutputError and its kinds, as all that follow."""
        self._ask(struct.pack(">BHH", WRITE_COIL, address, _ON if on else 0), answer_bytes=5)

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """Set holding registers, 16 bits each, in one request: the device never shows half of them."""
        head = struct.pack(">BHHB", WRITE_REGISTERS, address, len(values), 2 * len(values))
        self._ask(head + struct.pack(f">{len(values)}H", *values), answer_bytes=5)

    def read_coil(self, address: int) -> bool:
        """One coil."""
        return bool(self._ask(struct.pack(">BHH", READ_COILS, address, 1), answer_bytes=3)[2] & 1)

    def read_registers(self, address: int, count: int) -> List[int]:
        """Holding registers, 16 bits each."""
        answer = self._ask(struct.pack(">BHH", READ_REGISTERS, address, count), answer_bytes=2 + 2 * count)
        return list(struct.unpack(f">{count}H", answer[2:]))

    def _ask(self, request: bytes, answer_bytes: int) -> bytes:
        if self._socket is None:
            raise OutputNotConnectedError(self._subject, "is not connected")
        self._transaction = (self._transaction + 1) & 0xFFFF
        until_ns = self._clock.monotonic_ns() + round(self._timeout_s * 1e9)
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(_HEADER.pack(self._transaction, 0, len(request) + 1, self._unit) + request)
            answer = self._answer(self._socket, until_ns)
        except socket.timeout as error:
            raise OutputTimeoutError(self._subject, f"no answer within {self._timeout_s:g} s") from error
        except OSError as error:
            raise OutputNotConnectedError(self._subject, f"the connection broke ({error})") from error
        if len(answer) == 2 and answer[0] == request[0] | _EXCEPTION:
            said = _EXCEPTIONS.get(answer[1], f"exception {answer[1]}")
            raise OutputError(self._subject, f"refuses function {request[0]}: {said}", "Check the addresses.")
        if len(answer) != answer_bytes or answer[0] != request[0]:
            raise OutputError(self._subject, f"its answer to function {request[0]} is no such answer")
        return answer

    def _answer(self, connection: socket.socket, until_ns: int) -> bytes:
        transaction, protocol, length, unit = _HEADER.unpack(self._receive(connection, _HEADER.size, until_ns))
        if transaction != self._transaction or protocol != 0 or unit != self._unit or not 2 <= length <= _MAX_PDU + 1:
            raise OutputError(self._subject, "its answer is no Modbus TCP, or of another request")
        return self._receive(connection, length - 1, until_ns)

    def _receive(self, connection: socket.socket, count: int, until_ns: int) -> bytes:
        received = b""
        while len(received) < count:
            left_s = (until_ns - self._clock.monotonic_ns()) / 1e9
            if left_s <= 0:
                raise socket.timeout
            connection.settimeout(left_s)
            chunk = connection.recv(count - len(received))
            if not chunk:
                raise OutputNotConnectedError(self._subject, "the device closed the connection")
            received += chunk
        return received
