"""A device that speaks Modbus TCP: a memory of coils and registers that others read and write over the network."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Callable, Dict, List, Optional, Sequence, Set

from edge_agent.errors import ConfigError
from edge_agent.modbus.protocol import (
    EXCEPTION,
    HEADER,
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    MAX_PDU,
    ON,
    READ_COILS,
    READ_REGISTERS,
    WORD,
    WRITE_COIL,
    WRITE_REGISTER,
    WRITE_REGISTERS,
)

# Each connection holds a thread.
_MAX_CONNECTIONS = 16
_MAX_COILS, _MAX_READ, _MAX_WRITTEN = 2000, 125, 123


class _RefusedError(Exception):
    """Args:
    code: of the exception that is answered.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ModbusDevice:
    """Functions 1, 3, 5, 6 and 16, for any unit; `read` and `write` are its own program's side, from any thread.

    Args:
        host, port: where it listens; port 0 takes a free one.
        coils, registers: how many it has, addresses from 0.
    """

    def __init__(self, host: str, port: int, *, coils: int = 0, registers: int = 0) -> None:
        self._address = (host, port)
        self._lock = threading.Lock()
        self._coils = [False] * coils
        self._registers = [0] * registers
        self._listener: Optional[socket.socket] = None
        self._connections: Set[socket.socket] = set()
        self._functions: Dict[int, Callable[[bytes], bytes]] = {
            READ_COILS: self._read_coils,
            READ_REGISTERS: self._read_registers,
            WRITE_COIL: self._write_coil,
            WRITE_REGISTER: self._write_register,
            WRITE_REGISTERS: self._write_registers,
        }

    @property
    def port(self) -> int:
        """The port that it listens on; 0 while it is closed and takes a free one."""
        return self._address[1]

    def open(self) -> None:
        """Listen, also again after `close`, on the same port. Raises ConfigError where that cannot be had."""
        try:
            listener = socket.create_server(self._address)
        except (OSError, OverflowError, UnicodeError) as error:
            host, port = self._address
            raise ConfigError(f"modbus {host}:{port}", f"cannot be listened on ({error})", "Name another.") from error
        self._address = (self._address[0], listener.getsockname()[1])
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="modbus-device", daemon=True).start()

    def close(self) -> None:
        """Cut every connection; the memory stays. Any number of times."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with self._lock:
            connections = [listener, *self._connections]
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        listener.close()

    def read(self, address: int, count: int) -> List[int]:
        """Registers, all of one moment."""
        with self._lock:
            return self._registers[address : address + count]

    def write(self, address: int, values: Sequence[int]) -> None:
        """Set registers, in one step."""
        with self._lock:
            self._registers[address : address + len(values)] = values

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _peer = listener.accept()
            except OSError:
                return
            with self._lock:
                refused = self._listener is not listener or len(self._connections) >= _MAX_CONNECTIONS
                if not refused:
                    self._connections.add(connection)
            if refused:
                connection.close()
            else:
                threading.Thread(target=self._serve, args=(connection,), name="modbus-client", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as requests:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                header = requests.read(HEADER.size)
                if len(header) < HEADER.size:
                    break
                transaction, protocol, length, unit = HEADER.unpack(header)
                if protocol != 0 or not 2 <= length <= MAX_PDU + 1:
                    break  # no Modbus: where the next request begins is not known
                request = requests.read(length - 1)
                if len(request) < length - 1:
                    break
                answer = self._answer(request)
                connection.sendall(HEADER.pack(transaction, 0, len(answer) + 1, unit) + answer)
        with self._lock:
            self._connections.discard(connection)

    def _answer(self, request: bytes) -> bytes:
        try:
            with self._lock:
                return request[:1] + self._functions.get(request[0], _unknown)(request[1:])
        except struct.error:
            return bytes([request[0] | EXCEPTION, ILLEGAL_VALUE])
        except _RefusedError as refused:
            return bytes([request[0] | EXCEPTION, refused.code])

    # The functions, with the lock held: from what follows the function's code to what follows it in the answer.

    def _read_coils(self, data: bytes) -> bytes:
        address, count = struct.unpack(">HH", data)
        _check(address, count, _MAX_COILS, len(self._coils))
        found = bytearray((count + 7) // 8)
        for offset, on in enumerate(self._coils[address : address + count]):
            found[offset // 8] |= on << offset % 8
        return bytes([len(found)]) + bytes(found)

    def _read_registers(self, data: bytes) -> bytes:
        address, count = struct.unpack(">HH", data)
        _check(address, count, _MAX_READ, len(self._registers))
        return struct.pack(f">B{count}H", 2 * count, *self._registers[address : address + count])

    def _write_coil(self, data: bytes) -> bytes:
        address, value = struct.unpack(">HH", data)
        if value not in (0, ON):
            raise _RefusedError(ILLEGAL_VALUE)
        _check(address, 1, 1, len(self._coils))
        self._coils[address] = value == ON
        return data

    def _write_register(self, data: bytes) -> bytes:
        address, value = struct.unpack(">HH", data)
        _check(address, 1, 1, len(self._registers))
        self._registers[address] = value
        return data

    def _write_registers(self, data: bytes) -> bytes:
        address, count, size = struct.unpack_from(">HHB", data)
        if size != 2 * count or len(data) != 5 + size:
            raise _RefusedError(ILLEGAL_VALUE)
        _check(address, count, _MAX_WRITTEN, len(self._registers))
        self._registers[address : address + count] = struct.unpack_from(f">{count}H", data, 5)
        return data[:4]


def _unknown(_data: bytes) -> bytes:
    raise _RefusedError(ILLEGAL_FUNCTION)


def _check(address: int, count: int, most: int, size: int) -> None:
    if not 1 <= count <= most:
        raise _RefusedError(ILLEGAL_VALUE)
    if address + count > min(size, WORD + 1):
        raise _RefusedError(ILLEGAL_ADDRESS)
