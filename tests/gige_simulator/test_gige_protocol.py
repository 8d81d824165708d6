"""The simulated camera as a controller on the wire meets it: raw datagrams over real sockets."""

from __future__ import annotations

import socket
import struct
import time
import xml.etree.ElementTree as ET
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import pytest
from hypothesis import given, strategies
from hypothesis import settings as hypothesis_settings
from support import gige

from edge_agent.clock import SystemClock
from edge_agent.config import convert
from edge_agent.errors import CameraError, ConfigError
from edge_agent.gige_simulator import SimulatedCamera, SimulatorSettings
from edge_agent.gige_simulator.features import ADDRESSES

READ, WRITE, READ_MEMORY, WRITE_MEMORY, DISCOVERY, RESEND = 0x80, 0x82, 0x84, 0x86, 0x02, 0x40
PRIVILEGE, HEARTBEAT, STREAM_PORT, PACKET_SIZE, STREAM_ADDRESS, SERIAL = 0xA00, 0x938, 0xD00, 0xD04, 0xD18, 0xD8
PICTURE = np.arange(96 * 128 * 3, dtype=np.uint32).astype(np.uint8).reshape(96, 128, 3)


class Controller:
    """Speaks GVCP by hand, apart from the code under test."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(10)
        self.camera = (address, 3956)
        self.request = 0

    def ask(self, command: int, body: bytes) -> Tuple[int, bytes]:
        """Status and body of the answer."""
        self.request += 1
        self.send(command, body, 0x01)
        answer = self.socket.recv(2048)
        status, code, length, request = struct.unpack_from(">HHHH", answer)
        assert (code, length, request) == (command + 1, len(answer) - 8, self.request)
        return status, answer[8:]

    def send(self, command: int, body: bytes, flags: int) -> None:
        self.socket.sendto(struct.pack(">BBHHH", 0x42, flags, command, len(body), self.request) + body, self.camera)

    def read(self, address: int) -> int:
        status, body = self.ask(READ, struct.pack(">I", address))
        assert status == 0
        return int(struct.unpack(">I", body)[0])

    def write(self, address: int, value: int) -> int:
        """The status."""
        return self.ask(WRITE, struct.pack(">II", address, value))[0]

    def start(self, receiver: socket.socket) -> None:
        """Take control and have the stream sent there."""
        host, port = receiver.getsockname()
        assert self.write(PRIVILEGE, 2) == 0
        assert self.write(STREAM_ADDRESS, struct.unpack(">I", socket.inet_aton(host))[0]) == 0
        assert self.write(STREAM_PORT, port) == 0
        assert self.write(PACKET_SIZE, 1400) == 0
        assert self.write(ADDRESSES["AcquisitionStart"], 1) == 0


@pytest.fixture
def camera() -> Iterator[SimulatedCamera]:
    made = gige.simulated([PICTURE], width=128, height=96)
    yield made
    made.stop()


@pytest.fixture
def controllers() -> Iterator[List[Controller]]:
    made: List[Controller] = []
    yield made
    for controller in made:
        controller.socket.close()


@pytest.fixture
def controller(camera: SimulatedCamera, controllers: List[Controller]) -> Controller:
    controllers.append(Controller(camera.settings.address))
    return controllers[-1]


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(10)
        yield made


def test_discovery_says_who_and_where_it_is(camera: SimulatedCamera, controller: Controller) -> None:
    status, body = controller.ask(DISCOVERY, b"")
    assert (status, len(body)) == (0, 0xF8)
    assert body[0x24:0x28] == socket.inet_aton(camera.settings.address)
    assert body[SERIAL : SERIAL + 16].rstrip(b"\0").decode() == camera.settings.serial
    assert body[0x48:0x68].rstrip(b"\0") == b"EdgeAgent"


def test_a_broadcast_reaches_it_too(camera: SimulatedCamera, controller: Controller) -> None:
    controller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    controller.camera = ("255.255.255.255", 3956)
    controller.send(DISCOVERY, b"", 0x11)
    # Cameras of other test runs may answer before.
    while True:
        answer, peer = controller.socket.recvfrom(2048)
        if peer[0] == camera.settings.address:
            break
    assert answer[8 + SERIAL : 8 + SERIAL + 16].rstrip(b"\0").decode() == camera.settings.serial


def test_its_description_is_where_it_says(controller: Controller) -> None:
    _, url = controller.ask(READ_MEMORY, struct.pack(">IHH", 0x200, 0, 512))
    kind, address, length = url[4:].rstrip(b"\0").decode().split(";")
    assert kind.startswith("Local:")
    document = b""
    while len(document) < int(length, 16):
        size = min(512, int(length, 16) - len(document))
        status, body = controller.ask(READ_MEMORY, struct.pack(">IHH", int(address, 16) + len(document), 0, size))
        assert status == 0
        document += body[4:]
    names = {node.get("Name") for node in ET.fromstring(document)}  # noqa: S314 - of the camera under test
    assert {"Width", "PixelFormat", "ExposureTime", "TriggerSource", "GevSCPSPacketSize", "Device"} <= names


def test_only_the_controller_writes(
    camera: SimulatedCamera, controllers: List[Controller], controller: Controller
) -> None:
    other = Controller(camera.settings.address)
    controllers.append(other)
    assert controller.write(ADDRESSES["Width"], 64) == 0x8006
    assert controller.write(PRIVILEGE, 2) == 0
    assert controller.write(ADDRESSES["Width"], 64) == 0
    assert other.write(ADDRESSES["Width"], 128) == 0x8006
    assert other.write(PRIVILEGE, 2) == 0x8006
    assert other.read(ADDRESSES["Width"]) == 64
    assert controller.write(PRIVILEGE, 0) == 0
    assert other.write(PRIVILEGE, 1) == 0


def test_a_silent_controller_loses_the_control(controller: Controller) -> None:
    assert controller.write(PRIVILEGE, 2) == 0
    assert controller.write(HEARTBEAT, 1) == 0
    assert controller.read(HEARTBEAT) == 500
    time.sleep(0.7)
    assert controller.read(PRIVILEGE) == 0
    assert controller.write(ADDRESSES["Width"], 64) == 0x8006


@pytest.mark.parametrize(
    ("address", "value", "status"),
    [
        (0x00, 1, 0x8004),
        (ADDRESSES["SensorWidth"], 64, 0x8004),
        (ADDRESSES["Width"], 130, 0x8002),
        (ADDRESSES["Width"], 65, 0x8002),
        (ADDRESSES["OffsetX"], 2, 0x8002),
        (ADDRESSES["PixelFormat"], 7, 0x8002),
        (ADDRESSES["ExposureTime"], 1, 0x8005),
        (0x9000, 1, 0x8003),
    ],
)
def test_what_may_not_be_written_is_refused(controller: Controller, address: int, value: int, status: int) -> None:
    assert controller.write(PRIVILEGE, 2) == 0
    assert controller.write(address, value) == status


def test_rows_of_no_whole_bytes_are_refused(controller: Controller) -> None:
    assert controller.write(PRIVILEGE, 2) == 0
    assert controller.write(ADDRESSES["Width"], 66) == 0
    # Mono10p: four pixels in five bytes.
    assert controller.write(ADDRESSES["PixelFormat"], 0x010A0046) == 0x8002
    assert controller.write(ADDRESSES["Width"], 68) == 0
    assert controller.write(ADDRESSES["PixelFormat"], 0x010A0046) == 0
    assert controller.read(ADDRESSES["PayloadSize"]) == 68 * 96 * 10 // 8


def test_an_unknown_command_is_said_to_be_one(controller: Controller) -> None:
    assert controller.ask(0x00C0, b"")[0] == 0x8001
    assert controller.ask(READ_MEMORY, struct.pack(">IHH", 0, 0, 1000))[0] == 0x8002
    assert controller.ask(READ_MEMORY, b"\0")[0] == 0x8002


def _packet(receiver: socket.socket) -> Tuple[int, int, int, int, bytes]:
    """Status, block, kind, number and what follows."""
    datagram = receiver.recv(65536)
    status, block, word = struct.unpack_from(">HHI", datagram)
    return status, block, word >> 24, word & 0xFFFFFF, datagram[8:]


def _image(receiver: socket.socket) -> Tuple[int, bytes, bytes]:
    """Block, leader and data of the next whole image."""
    block, leader, data, expected = 0, b"", b"", None  # type: Tuple[int, bytes, bytes, Optional[int]]
    while True:
        status, number_of_block, kind, number, rest = _packet(receiver)
        assert status == 0
        if kind == 1:
            block, leader, data, expected = number_of_block, rest, b"", 1
        elif expected is not None:
            assert (number_of_block, number) == (block, expected)
            expected += 1
            if kind == 2:
                return block, leader, data
            data += rest


def test_an_image_is_a_leader_its_bytes_and_a_trailer(controller: Controller, receiver: socket.socket) -> None:
    controller.start(receiver)
    block, leader, data = _image(receiver)
    _flags, payload, _timestamp, pixel_format, width, height = struct.unpack_from(">HHQIII", leader)
    assert (block, payload, pixel_format, width, height) == (1, 1, 0x01080001, 128, 96)
    assert len(data) == 128 * 96


def test_a_trigger_asked_for_again_under_its_number_is_one_image(
    camera: SimulatedCamera, controller: Controller, receiver: socket.socket
) -> None:
    assert controller.write(PRIVILEGE, 2) == 0
    assert controller.write(ADDRESSES["TriggerMode"], 1) == 0
    assert controller.write(ADDRESSES["TriggerSource"], 0) == 0  # Software
    controller.start(receiver)
    trigger = struct.pack(">II", ADDRESSES["TriggerSoftware"], 1)
    for images in (1, 2):
        answer = controller.ask(WRITE, trigger)
        for _ in range(3):  # as a controller that heard no answer
            controller.send(WRITE, trigger, 0x01)
            status, _code, _length, request = struct.unpack_from(">HHHH", controller.socket.recv(2048))
            assert (status, request) == (answer[0], controller.request) == (0, controller.request)
        _image(receiver)
        assert camera.counters()["images"] == images


def test_packets_are_sent_again_and_those_that_are_gone_are_said_to_be(
    controller: Controller, receiver: socket.socket
) -> None:
    assert controller.write(PRIVILEGE, 2) == 0
    assert controller.write(ADDRESSES["TriggerMode"], 1) == 0
    controller.start(receiver)
    assert controller.write(ADDRESSES["TriggerSoftware"], 1) == 0
    block, leader, data = _image(receiver)
    controller.send(RESEND, struct.pack(">HHII", 0, block, 0, 2), 0)
    again = [_packet(receiver) for _ in range(3)]
    assert [packet[3] for packet in again] == [0, 1, 2]
    assert again[0][4] == leader
    assert again[1][4] + again[2][4] == data[: 2 * (1400 - 36)]
    controller.send(RESEND, struct.pack(">HHII", 0, 77, 5, 6), 0)
    gone = [_packet(receiver) for _ in range(2)]
    assert [(packet[0], packet[1], packet[3]) for packet in gone] == [(0x800C, 77, 5), (0x800C, 77, 6)]


def test_a_trial_packet_comes_where_it_fits(controller: Controller, receiver: socket.socket) -> None:
    controller.start(receiver)
    assert controller.write(ADDRESSES["AcquisitionStop"], 1) == 0
    assert controller.write(PACKET_SIZE, 0x8000_0000 | 9004) == 0
    assert controller.write(PACKET_SIZE, 0x8000_0000 | 8000) == 0
    sizes = []
    while 8000 - 28 not in sizes:
        sizes.append(len(receiver.recv(65536)))
    assert 9004 - 28 not in sizes


@pytest.fixture(scope="module")
def standing() -> Iterator[Tuple[Controller, SimulatedCamera]]:
    """One camera for all examples."""
    camera = gige.simulated([PICTURE], width=128, height=96)
    controller = Controller(camera.settings.address)
    yield controller, camera
    controller.socket.close()
    camera.stop()


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    body=strategies.binary(max_size=80),
    command=strategies.sampled_from([None, READ, WRITE, READ_MEMORY, WRITE_MEMORY, RESEND]),
)
def test_no_datagram_stops_it(
    standing: Tuple[Controller, SimulatedCamera], body: bytes, command: Optional[int]
) -> None:
    controller, camera = standing
    if command is None:
        controller.socket.sendto(body, controller.camera)
    else:
        controller.send(command, body, 0)
    assert controller.ask(DISCOVERY, b"")[0] == 0
    assert camera.counters()["images"] == 0


def test_an_address_belongs_to_one_camera(camera: SimulatedCamera) -> None:
    second = SimulatedCamera(camera.settings, [PICTURE], SystemClock())
    with pytest.raises(CameraError, match=f"cannot listen on {camera.settings.address}:3956"):
        second.start()


@pytest.mark.parametrize(
    "values",
    [
        {"address": "camera.local"},
        {"serial": ""},
        {"serial": "0123456789abcdef"},
        {"serial": "Ä"},
        {"width": 62},
        {"height": 4098},
        {"width": 99},
        {"rate": 0},
        {"loss": 1.5},
        {"mtu": 100},
    ],
)
def test_bad_settings_are_named(values: Dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        convert(values, SimulatorSettings, "simulator.yaml")
