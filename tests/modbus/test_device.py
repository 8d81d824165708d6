"""The device in software, asked by pymodbus and by bytes that are no Modbus."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any, Iterator

import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import ConfigError, OutputError, OutputNotConnectedError
from edge_agent.modbus import ModbusClient, ModbusDevice

HOST = "127.0.0.1"
ON, OFF = True, False


@pytest.fixture
def device() -> Iterator[ModbusDevice]:
    made = ModbusDevice(HOST, 0, coils=20, registers=40)
    made.open()
    yield made
    made.close()


@pytest.fixture
def client(device: ModbusDevice) -> Iterator[Any]:
    pymodbus = pytest.importorskip("pymodbus.client")
    made = pymodbus.ModbusTcpClient(HOST, port=device.port)
    assert made.connect()
    yield made
    made.close()


@pytest.fixture
def own(device: ModbusDevice) -> Iterator[ModbusClient]:
    made = ModbusClient(HOST, device.port, 1, 2.0, SystemClock())
    made.connect()
    yield made
    made.close()


def test_another_client_reads_and_writes_it(device: ModbusDevice, client: Any) -> None:
    assert not client.write_registers(3, [1, 65535, 7]).isError()
    assert not client.write_register(6, 9).isError()
    assert device.read(3, 4) == [1, 65535, 7, 9]
    device.write(38, [11, 12])
    assert client.read_holding_registers(38, count=2).registers == [11, 12]
    for coil in (0, 9, 19):
        assert not client.write_coil(coil, ON).isError()
    assert client.read_coils(0, count=20).bits[:20] == [number in (0, 9, 19) for number in range(20)]
    assert not client.write_coil(9, OFF).isError()
    assert client.read_coils(8, count=3).bits[:3] == [False, False, False]


def test_it_refuses_as_the_standard_says(client: Any) -> None:
    assert client.read_input_registers(0, count=1).exception_code == 1
    assert client.read_holding_registers(39, count=2).exception_code == 2
    assert client.write_registers(39, [1, 2]).exception_code == 2
    assert client.write_coil(20, ON).exception_code == 2
    assert client.read_holding_registers(0, count=1).registers == [0]


def test_our_client_tells_why_it_is_refused(own: ModbusClient) -> None:
    own.write_coil(4, on=True)
    assert own.read_coil(4)
    with pytest.raises(OutputError, match="there is no such address"):
        own.write_registers(100, [1])
    own.write_registers(0, [5])
    assert own.read_registers(0, 1) == [5]


@pytest.mark.parametrize(
    ("request_pdu", "code"),
    [
        (struct.pack(">BHH", 3, 0, 0), 3),
        (struct.pack(">BHH", 3, 0, 126), 3),
        (struct.pack(">BH", 3, 0), 3),
        (struct.pack(">BHH", 5, 0, 1), 3),
        (struct.pack(">BHHB", 16, 0, 2, 4) + b"\0\0", 3),
        (struct.pack(">BHHB", 16, 0, 1, 4) + b"\0\0\0\0", 3),
        (struct.pack(">BHHB", 16, 0xFFFF, 2, 4) + b"\0\0\0\0", 2),
        (b"\x2b", 1),
    ],
)
def test_a_request_that_cannot_be_is_refused_and_the_next_one_answered(
    device: ModbusDevice, request_pdu: bytes, code: int
) -> None:
    with socket.create_connection((HOST, device.port), timeout=5) as raw:
        raw.sendall(struct.pack(">HHHB", 7, 0, len(request_pdu) + 1, 9) + request_pdu)
        assert _exactly(raw, 9) == struct.pack(">HHHBBB", 7, 0, 3, 9, request_pdu[0] | 0x80, code)
        raw.sendall(struct.pack(">HHHBBHH", 8, 0, 6, 9, 3, 0, 1))
        assert _exactly(raw, 11)[:2] == b"\0\x08"


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0\xff\xff\1", b"\0\1\0\0\0\1\1"])
def test_what_is_no_modbus_is_cut_off(device: ModbusDevice, own: ModbusClient, garbage: bytes) -> None:
    with socket.create_connection((HOST, device.port), timeout=5) as raw:
        raw.sendall(garbage)
        with contextlib.suppress(ConnectionResetError):  # of what it did not read any more
            assert raw.recv(1) == b""
    assert own.read_registers(0, 1) == [0]


def test_it_goes_and_comes_back_with_its_memory(device: ModbusDevice, own: ModbusClient) -> None:
    own.write_registers(0, [5])
    device.close()
    with pytest.raises(OutputNotConnectedError):
        own.read_registers(0, 1)
    with pytest.raises(OutputNotConnectedError):
        own.connect()
    device.open()
    own.connect()
    assert own.read_registers(0, 1) == [5]


def test_a_port_that_is_taken_is_named(device: ModbusDevice) -> None:
    with pytest.raises(ConfigError, match=f"modbus {HOST}:{device.port}: cannot be listened on"):
        ModbusDevice(HOST, device.port).open()


def test_it_has_so_many_connections_and_room_again(device: ModbusDevice) -> None:
    crowd = [socket.create_connection((HOST, device.port), timeout=5) for _ in range(16)]
    try:
        for raw in crowd:
            raw.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, 1))
            assert len(_exactly(raw, 11)) == 11
        late = ModbusClient(HOST, device.port, 1, 2.0, SystemClock())
        late.connect()
        with pytest.raises(OutputNotConnectedError):
            late.read_registers(0, 1)
    finally:
        for raw in crowd:
            raw.close()
    for _ in range(1000):
        try:
            late.connect()
            assert late.read_registers(0, 1) == [0]
            break
        except OutputNotConnectedError:
            continue
    else:
        pytest.fail("there was no room again")
    late.close()


def _exactly(raw: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        chunk = raw.recv(count - len(found))
        assert chunk
        found += chunk
    return found
