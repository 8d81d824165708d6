"""A PLC that asks for images and acknowledges results, over Modbus TCP (docs/plc.md)."""

from __future__ import annotations

import secrets
from typing import Any, Dict, List, Optional, Tuple

from edge_agent.config import Settings
from edge_agent.errors import OutputError, OutputNotConnectedError
from edge_agent.modbus import ModbusClient
from edge_agent.modbus.handshake_map import COMMAND_REGISTERS, Commands, Result, Status, blocks_problem
from edge_agent.modbus.protocol import WORD
from edge_agent.outputs.base import Action, Output, OutputContext, SafeReason
from edge_agent.outputs.decision import class_number, decision
from edge_agent.outputs.handshake import Handshake
from edge_agent.triggers import Trigger

_CAUSES = {None: 0, "late": 1, "lost": 2, "missed_trigger": 3}

# Triggers whose outcome was not heard yet: more than a lane can hold, and those of a lane that was rebuilt meanwhile.
_REMEMBER = 256


class PlcOutputSettings(Settings, frozen=True, tag_field="type", tag="plc"):
    """A PLC that shakes hands over Modbus TCP; it is the server. Its registers are in docs/plc.md.

    Attributes:
        host: name or address of the PLC.
        port: its TCP port.
        unit: 0 to 255; most devices take any.
        commands: address (from 0) of the first of four holding registers that the PLC writes.
        status: address (from 0) of the first of fifteen holding registers that the inspector writes.
        poll_ms: milliseconds from one look at the commands to the next, 1 to 1000.
        heartbeat_ms: milliseconds from one beat of the inspector's heart to the next, 10 to 10000.
        plc_silent_s: seconds without a beat of the PLC's heart after which its program stands still; 0: it has none.
        classes: the names of classes that the PLC knows, in the order of their numbers, from 1.
        timeout_s: seconds that the PLC may take to answer, 0.05 to 10.
    """

    host: str
    port: int = 502
    unit: int = 1
    commands: int = 0
    status: int = 16
    poll_ms: float = 10.0
    heartbeat_ms: float = 100.0
    plc_silent_s: float = 2.0
    classes: Tuple[str, ...] = ()
    timeout_s: float = 0.5

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("`host` must name the PLC")
        if not 1 <= self.port <= WORD:
            raise ValueError("`port` must be 1 to 65535")
        if not 0 <= self.unit <= 255:
            raise ValueError("`unit` must be 0 to 255")
        problem = blocks_problem(self.commands, self.status)
        if problem:
            raise ValueError(problem)
        if not 1 <= self.poll_ms <= 1000:
            raise ValueError("`poll_ms` must be 1 to 1000")
        if not 10 <= self.heartbeat_ms <= 10_000:
            raise ValueError("`heartbeat_ms` must be 10 to 10000")
        if self.plc_silent_s != 0 and not 0.1 <= self.plc_silent_s <= 3600:
            raise ValueError("`plc_silent_s` must be 0.1 to 3600, or 0 for a PLC without a heartbeat")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("`classes` must name each class once")
        if not 0.05 <= self.timeout_s <= 10:
            raise ValueError("`timeout_s` must be 0.05 to 10")


class PlcOutput(Output):
    """What is applied waits here until the PLC acknowledges it, over a lost connection, too: `apply` does not fail for
    want of a PLC, the next `tick` does.
    """

    follows = True
    awaits = True

    def __init__(self, settings: PlcOutputSettings, context: OutputContext) -> None:
        self._settings = settings
        self._clock = context.clock
        self._stations = context.stations
        self._lane = context.lanes[0]
        self._source = f"plc {context.name}"
        self._subject = f"plc {settings.host}:{settings.port}"
        self._client = ModbusClient(settings.host, settings.port, settings.unit, settings.timeout_s, context.clock)
        # Never 0, which is what a PLC has before an inspector was there.
        self._handshake = Handshake(secrets.randbelow(WORD) + 1)
        # By id: the part's number; None for those that were not taken.
        self._triggers: Dict[str, Optional[int]] = {}
        self._is_safe = True
        self._written: List[int] = []
        self._failure: Optional[OutputError] = None
        self._poll_ns: Optional[int] = None
        self._heard: Optional[int] = None
        self._heard_ns = 0
        self._stands_still = False

    def open(self) -> None:
        self._client.connect()
        self._failure = None
        self._written = []
        self._handshake.away()
        if not self._stands_still:
            self._heard_ns = self._clock.monotonic_ns()
        self._listen(self._read())
        self._poll_ns = self._clock.monotonic_ns()

    def apply(self, action: Action) -> None:
        part = self._triggers.pop(action.part.trigger_id or "", 0)
        if part is None:
            return  # the PLC was told that its trigger was missed
        self._handshake.give(self._result(action, part))
        try:
            self._exchange()
        except OutputError as error:
            self._failure = error

    def safe(self, reason: SafeReason) -> None:
        self._is_safe = True
        if reason == "stop":
            self._write(Status(safe=True))
        else:
            self._show()

    def ready(self) -> None:
        self._is_safe = False
        self._show()

    def due_ns(self) -> Optional[int]:
        return self._poll_ns

    def tick(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._poll_ns is not None and self._clock.monotonic_ns() >= self._poll_ns:
            self._exchange()

    def close(self) -> None:
        self._poll_ns = None
        self._client.close()

    def status(self) -> Dict[str, Any]:
        return {"handshake": self._handshake.counts()}

    def _exchange(self) -> None:
        """Hear what the PLC says, and answer."""
        self._poll_ns = self._clock.monotonic_ns() + round(self._settings.poll_ms * 1e6)
        commands = self._read()
        self._listen(commands)
        part = self._handshake.look(commands)
        if part is not None:
            self._ask_for_image(part)
        self._show()

    def _read(self) -> Commands:
        return Commands.decode(self._client.read_registers(self._settings.commands, COMMAND_REGISTERS))

    def _listen(self, commands: Commands) -> None:
        """To the PLC's heart. Its network answers for a program that was stopped."""
        now_ns = self._clock.monotonic_ns()
        if commands.heartbeat != self._heard:
            self._heard, self._heard_ns, self._stands_still = commands.heartbeat, now_ns, False
        silent_ns = self._settings.plc_silent_s * 1e9
        if silent_ns and now_ns - self._heard_ns > silent_ns:
            self._stands_still = True
            raise OutputNotConnectedError(
                self._subject,
                f"its program stands still: no heartbeat for {self._settings.plc_silent_s:g} s",
                "Start it, or set `plc_silent_s` to 0 where it has none.",
            )

    def _ask_for_image(self, part: int) -> None:
        trigger = Trigger(self._source, self._clock.monotonic_ns())
        accepted = self._stations.fire(self._lane, trigger)
        self._triggers[trigger.id] = part if accepted else None
        while len(self._triggers) > _REMEMBER:
            del self._triggers[next(iter(self._triggers))]
        self._handshake.answer(accepted=accepted)

    def _result(self, action: Action, part: int) -> Result:
        verdict, confidence, area = decision(action)
        return Result(
            verdict=verdict,
            confidence=confidence,
            area=area,
            sequence=action.part.sequence or 0,
            class_number=class_number(action, self._settings.classes),
            rule=action.on,
            cause=_CAUSES[action.cause],
            part=part,
        )

    def _show(self) -> None:
        beat = self._clock.monotonic_ns() // round(self._settings.heartbeat_ms * 1e6)
        self._write(
            self._handshake.status(
                ready=self._stations.ready(self._lane),
                inspecting=self._stations.inspecting(self._lane),
                safe=self._is_safe,
                heartbeat=beat,
            )
        )

    def _write(self, status: Status) -> None:
        words = status.encode()
        if words != self._written:
            self._client.write_registers(self._settings.status, words)
            self._written = words
