"""The control side of the simulated camera: commands of a controller, and who the controller is."""

from __future__ import annotations

import struct
from typing import Callable, Optional, Tuple

from edge_agent.clock import Clock
from edge_agent.gige_simulator import gvcp
from edge_agent.gige_simulator import registers as reg
from edge_agent.gige_simulator.gvcp import Command, RefusedError, Resend, Status
from edge_agent.gige_simulator.registers import Registers

Peer = Tuple[str, int]

# Bits of the privilege register: exclusive access, control.
_ANY_CONTROL = 0b11


class Control:
    """Answers commands. Used under the camera's lock.

    Args:
        registers: of the camera.
        clock: time.
        on_feature: called with a feature's name after it was written.
        on_resend: called with what a receiver asks for again.
        on_trial: called with the size of a trial packet to send.
    """

    def __init__(
        self,
        registers: Registers,
        clock: Clock,
        on_feature: Callable[[str], None],
        on_resend: Callable[[Resend], None],
        on_trial: Callable[[int], None],
    ) -> None:
        self._registers = registers
        self._clock = clock
        self._on_feature = on_feature
        self._on_resend = on_resend
        self._on_trial = on_trial
        self._controller: Optional[Peer] = None
        self._heard_ns = 0
        # The newest command that wanted an answer, who sent it, and the answer.
        self._answered: Optional[Tuple[Peer, bytes, bytes]] = None
        self._handlers = {
            gvcp.DISCOVERY: self._discover,
            gvcp.READ_REGISTER: self._read_registers,
            gvcp.WRITE_REGISTER: self._write_registers,
            gvcp.READ_MEMORY: self._read_memory,
            gvcp.WRITE_MEMORY: self._write_memory,
        }

    @property
    def is_controlled(self) -> bool:
        """Whether a controller is there; one that is silent for longer than the heartbeat's time is not."""
        silent_ms = (self._clock.monotonic_ns() - self._heard_ns) / 1e6
        if self._controller is not None and silent_ms > self._registers.word(reg.HEARTBEAT_TIMEOUT):
            self.drop()
        return self._controller is not None

    def drop(self) -> None:
        """Take the control away from whoever has it."""
        self._controller = None
        self._registers.set_word(reg.CONTROL_PRIVILEGE, 0)

    def handle(self, datagram: bytes, peer: Peer) -> Optional[bytes]:
        """The answer to a datagram; None where none is due."""
        command = gvcp.parse(datagram)
        if command is None:
            return None
        if self.is_controlled and peer == self._controller:
            self._heard_ns = self._clock.monotonic_ns()
        if command.code == gvcp.PACKET_RESEND:
            resend = gvcp.parse_resend(command)
            if resend is not None:
                self._on_resend(resend)
            return None
        # A controller that got no answer asks again under the same number: a trigger must not be a second image then.
        if self._answered is not None and self._answered[:2] == (peer, datagram):
            return self._answered[2]
        answer = self._answer(command, peer)
        if not command.wants_answer:
            return None
        self._answered = (peer, datagram, answer)
        return answer

    def _answer(self, command: Command, peer: Peer) -> bytes:
        try:
            body = self._handlers.get(command.code, self._unknown)(command, peer)
        except RefusedError as refused:
            return gvcp.answer(command, status=refused.status)
        except struct.error:
            return gvcp.answer(command, status=Status.INVALID_PARAMETER)
        return gvcp.answer(command, body)

    def _unknown(self, _command: Command, _peer: Peer) -> bytes:
        raise RefusedError(Status.NOT_IMPLEMENTED)

    def _discover(self, _command: Command, _peer: Peer) -> bytes:
        return self._registers.read(0, reg.DISCOVERY_SIZE)

    def _read_registers(self, command: Command, _peer: Peer) -> bytes:
        return b"".join(self._registers.read(address, 4) for (address,) in struct.iter_unpack(">I", command.body))

    def _write_registers(self, command: Command, peer: Peer) -> bytes:
        done = 0
        for address, value in struct.iter_unpack(">I4s", command.body):
            self._write(address, value, peer)
            done += 1
        return struct.pack(">HH", 0, done)

    def _read_memory(self, command: Command, _peer: Peer) -> bytes:
        address, _reserved, size = struct.unpack(">IHH", command.body)
        if size > gvcp.MAX_MEMORY:
            raise RefusedError(Status.INVALID_PARAMETER)
        return bytes(command.body[:4]) + self._registers.read(address, size)

    def _write_memory(self, command: Command, peer: Peer) -> bytes:
        (address,) = struct.unpack_from(">I", command.body)
        self._write(address, command.body[4:], peer)
        return struct.pack(">HH", 0, len(command.body) - 4)

    def _write(self, address: int, value: bytes, peer: Peer) -> None:
        if self.is_controlled and peer != self._controller:
            raise RefusedError(Status.ACCESS_DENIED)
        if not self.is_controlled and address != reg.CONTROL_PRIVILEGE:
            raise RefusedError(Status.ACCESS_DENIED)
        feature = self._registers.write(address, value)
        if feature is not None:
            self._on_feature(feature.name)
        elif address == reg.CONTROL_PRIVILEGE:
            self._controller = peer if self._registers.word(address) & _ANY_CONTROL else None
            self._heard_ns = self._clock.monotonic_ns()
        elif address == reg.PACKET_SIZE and struct.unpack(">I", value)[0] & reg.FIRE_TEST_PACKET:
            self._on_trial(self._registers.word(address) & reg.SIZE_MASK)
