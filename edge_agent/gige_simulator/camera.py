"""A GigE Vision camera in software, with real packets. docs/genicam.md is the page on it.

It listens on an address of this machine as a camera listens on its own, answers discovery, takes a controller, and
sends what lies before it: by itself, for each software trigger or for each edge of its input line. It can be made to
lose packets, to fall silent, to lose its controller and to vanish.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import threading
from typing import Dict, List, Sequence

from edge_agent.clock import Clock
from edge_agent.errors import CameraError
from edge_agent.frame import Pixels
from edge_agent.gige_simulator import gvcp
from edge_agent.gige_simulator import registers as reg
from edge_agent.gige_simulator.acquisition import Acquisition
from edge_agent.gige_simulator.control import Control
from edge_agent.gige_simulator.gvsp import Block
from edge_agent.gige_simulator.registers import Registers
from edge_agent.gige_simulator.scene import Scene
from edge_agent.gige_simulator.sender import Destination, Sender
from edge_agent.gige_simulator.settings import SimulatorSettings

# How often a waiting thread looks whether it is to end.
_LOOK_S = 0.1

_EVERYONE = "255.255.255.255"
_LONGEST_DATAGRAM = 2048
_LAST_BLOCK = 0xFFFF
_SEND_BUFFER = 4 << 20


class SimulatedCamera:
    """See the module's text. Its methods may be called from any thread, but for `start` and `stop`.

    Args:
        settings: of the camera.
        pictures: RGB888; sent in turn, from the first on at each start of an acquisition.
        clock: time.

    Attributes:
        settings: of the camera.
    """

    def __init__(self, settings: SimulatorSettings, pictures: Sequence[Pixels], clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._scene = Scene(pictures, settings.width, settings.height)
        # Held for the camera's state; signalled when an image may be due.
        self._changed = threading.Condition()
        self._running = False
        self._silent = False
        self._threads: List[threading.Thread] = []
        self._sockets: List[socket.socket] = []

    def start(self) -> None:
        """Plug it in: from now on it answers, set as it was made.

        Raises:
            CameraError: its address, or GigE Vision's port there, cannot be had.
        """
        settings = self.settings
        own, everyone, stream = self._sockets = self._listen()
        self._sender = Sender(stream, loss=settings.loss, resend=settings.resend, mtu=settings.mtu, seed=settings.seed)
        self._registers = Registers(settings.address, settings.serial, settings.width, settings.height, settings.rate)
        self._acquisition = Acquisition(self._registers, self._clock)
        self._control = Control(
            self._registers,
            self._clock,
            self._acquisition.written,
            lambda asked: self._sender.resend(asked, self._destination()),
            lambda size: self._sender.trial(size, self._destination()),
        )
        self._block = 0
        self._running = True
        self._threads = [
            threading.Thread(target=self._answer, args=(own, everyone), name="simulator-control", daemon=True),
            threading.Thread(target=self._stream, name="simulator-stream", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Pull it out: from now on it neither answers nor sends, and says nobody goodbye. Any number of times."""
        with self._changed:
            self._running = False
            self._changed.notify_all()
        if self._sockets:
            # A datagram without a command, so that the answering thread looks up.
            self._sockets[-1].sendto(b"", (self.settings.address, gvcp.PORT))
        for thread in self._threads:
            thread.join()
        for opened in self._sockets:
            opened.close()
        self._threads, self._sockets = [], []

    def set_loss(self, share: float) -> None:
        """Lose that share of the stream's packets from now on, 0..1."""
        self._sender.loss = share

    def set_silent(self, silent: bool) -> None:  # noqa: FBT001 - the name says what it means
        """Answer and send nothing; or go on."""
        with self._changed:
            self._silent = silent
            self._changed.notify_all()

    def set_line(self, level: bool) -> None:  # noqa: FBT001 - a level is a boolean
        """The level of its input line, Line1."""
        with self._changed:
            self._acquisition.set_line(level)
            self._changed.notify_all()

    def drop_control(self) -> None:
        """Take the control from whoever has it, as a camera does that starts anew."""
        with self._changed:
            self._control.drop()

    def counters(self) -> Dict[str, int]:
        """images, packets (lost ones with them), packets_resent, packets_lost, since it was plugged in."""
        return self._sender.counters()

    def _listen(self) -> List[socket.socket]:
        """Sockets for commands to its own address, for broadcasts, and to stream from."""
        settings = self.settings
        made: List[socket.socket] = []
        try:
            for address, port in ((settings.address, gvcp.PORT), (_EVERYONE, gvcp.PORT), (settings.address, 0)):
                made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                # All cameras of a machine hear broadcasts; an address of its own belongs to one alone.
                made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(address == _EVERYONE))
                made[-1].bind((address, port))
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        except OSError as error:
            for opened in made:
                opened.close()
            raise CameraError(
                f"simulated camera {settings.serial}",
                f"cannot listen on {settings.address}:{gvcp.PORT} ({error.strerror})",
                "Give it an IPv4 address of this machine that no other camera has, such as 127.0.0.2.",
            ) from error
        return made

    def _answer(self, own: socket.socket, everyone: socket.socket) -> None:
        while self._running:
            readable, _, _ = select.select([own, everyone], [], [], _LOOK_S)
            for heard in readable:
                datagram, peer = heard.recvfrom(_LONGEST_DATAGRAM)
                with self._changed:
                    reply = self._control.handle(datagram, peer)
                    self._changed.notify_all()
                if reply is not None:
                    with contextlib.suppress(OSError):
                        own.sendto(reply, peer)

    def _stream(self) -> None:
        while True:
            with self._changed:
                wait_s = self._wait_s()
                while self._running and wait_s:
                    self._changed.wait(wait_s)
                    wait_s = self._wait_s()
                if not self._running:
                    return
                block, destination = self._expose(), self._destination()
                delay_s = self._registers.word(reg.PACKET_DELAY) / reg.TICKS
            self._sender.send(block, destination, delay_s)

    def _wait_s(self) -> float:
        """How long to wait before looking again; 0: an image is due."""
        if self._silent or not self._control.is_controlled:
            return _LOOK_S
        left = self._acquisition.wait_s()
        return _LOOK_S if left is None else min(left, _LOOK_S)

    def _expose(self) -> Block:
        registers = self._registers
        self._block = self._block % _LAST_BLOCK + 1
        x, y, width, height = (registers.integer(name) for name in ("OffsetX", "OffsetY", "Width", "Height"))
        return Block(
            number=self._block,
            timestamp_ns=self._clock.monotonic_ns(),
            pixel_format=registers.integer("PixelFormat"),
            region=(x, y, width, height),
            data=self._scene.expose(self._acquisition.take(), registers),
            packet_size=registers.word(reg.PACKET_SIZE) & reg.SIZE_MASK,
        )

    def _destination(self) -> Destination:
        port = self._registers.word(reg.STREAM_PORT) & reg.PORT_MASK
        return str(ipaddress.IPv4Address(self._registers.word(reg.STREAM_ADDRESS))), port
