"""The asking side of Modbus TCP."""

from __future__ import annotations

import socket
import struct
from typing import List, Optional, Sequence

from edge_agent.clock import Clock
from edge_agent.errors import OutputError, OutputNotConnectedError, OutputTimeoutError
from edge_agent.modbus.protocol import (
    EXCEPTION,
    EXCEPTIONS,
    HEADER,
    MAX_PDU,
    ON,
    READ_COILS,
    READ_REGISTERS,
    WORD,
    WRITE_COIL,
    WRITE_REGISTERS,
)


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
        self._ask(struct.pack(">BHH", WRITE_COIL, address, ON if on else 0), answer_bytes=5)

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
        self._transaction = (self._transaction + 1) & WORD
        until_ns = self._clock.monotonic_ns() + round(self._timeout_s * 1e9)
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(HEADER.pack(self._transaction, 0, len(request) + 1, self._unit) + request)
            answer = self._answer(self._socket, until_ns)
        except socket.timeout as error:
            raise OutputTimeoutError(self._subject, f"no answer within {self._timeout_s:g} s") from error
        except OSError as error:
            raise OutputNotConnectedError(self._subject, f"the connection broke ({error})") from error
        if len(answer) == 2 and answer[0] == request[0] | EXCEPTION:
            said = EXCEPTIONS.get(answer[1], f"exception {answer[1]}")
            raise OutputError(self._subject, f"refuses function {request[0]}: {said}", "Check the addresses.")
        if len(answer) != answer_bytes or answer[0] != request[0]:
            raise OutputError(self._subject, f"its answer to function {request[0]} is no such answer")
        return answer

    def _answer(self, connection: socket.socket, until_ns: int) -> bytes:
        transaction, protocol, length, unit = HEADER.unpack(self._receive(connection, HEADER.size, until_ns))
        if transaction != self._transaction or protocol != 0 or unit != self._unit or not 2 <= length <= MAX_PDU + 1:
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
