"""A PLC over Modbus TCP: a coil that is pulsed or latched, and registers that say what was decided."""

from __future__ import annotations

from typing import Optional

from edge_agent.config import Settings
from edge_agent.modbus import ModbusClient
from edge_agent.modbus.protocol import WORD
from edge_agent.outputs.base import Action, Output, OutputContext, SafeReason
from edge_agent.outputs.decision import SAFE, decision_words
from edge_agent.outputs.level import Level, Mode, SafeLevel, pulse_problem


class ModbusOutputSettings(Settings, frozen=True, tag_field="type", tag="modbus"):
    """A device that speaks Modbus TCP. At least one of `coil` and `registers` is needed.

    Attributes:
        host: name or address of the device.
        port: its TCP port.
        unit: 0 to 255; most devices take any.
        coil: address (from 0) of the coil that is driven; null: none.
        registers: address (from 0) of the first of six holding registers that say what was decided (docs/outputs.md);
            null: none.
        mode: of the coil: `pulse`: on for `pulse_ms`; `latch`: on until a part is judged that does not meet the rule.
        pulse_ms: milliseconds, 0.1 to 60000; an action during a pulse makes it longer.
        safe: the coil in the safe state: `inactive`, `active`, or `hold` (as it is).
        timeout_s: seconds that the device may take to answer, 0.05 to 10.
        check_s: seconds between looks whether an idle device is there, 0.1 to 3600; 0: none.
    """

    host: str
    port: int = 502
    unit: int = 1
    coil: Optional[int] = None
    registers: Optional[int] = None
    mode: Mode = "pulse"
    pulse_ms: float = 100.0
    safe: SafeLevel = "inactive"
    timeout_s: float = 0.5
    check_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("`host` must name the device")
        if not 1 <= self.port <= WORD:
            raise ValueError("`port` must be 1 to 65535")
        if not 0 <= self.unit <= 255:
            raise ValueError("`unit` must be 0 to 255")
        if self.coil is None and self.registers is None:
            raise ValueError("`coil` or `registers` must say what is written")
        if not 0 <= (self.coil or 0) <= WORD or not 0 <= (self.registers or 0) <= WORD - 5:
            raise ValueError("`coil` must be 0 to 65535, `registers` 0 to 65530")
        if not 0.05 <= self.timeout_s <= 10:
            raise ValueError("`timeout_s` must be 0.05 to 10")
        if self.check_s != 0 and not 0.1 <= self.check_s <= 3600:
            raise ValueError("`check_s` must be 0.1 to 3600, or 0 for none")
        problem = pulse_problem(self.pulse_ms)
        if problem:
            raise ValueError(problem)


class ModbusOutput(Output):
    drives = True

    def __init__(self, settings: ModbusOutputSettings, context: OutputContext) -> None:
        self._settings = settings
        self._clock = context.clock
        self.follows = settings.mode == "latch"
        self._client = ModbusClient(settings.host, settings.port, settings.unit, settings.timeout_s, context.clock)
        self._level = Level(self._drive, settings.mode, settings.pulse_ms, settings.safe, context.clock)
        self._check_ns: Optional[int] = None
        self._count = 0

    def open(self) -> None:
        self._client.connect()
        self._heard()

    def apply(self, action: Action) -> None:
        # First what was decided, then the coil: a PLC that waits for its edge finds the registers written.
        if self._settings.registers is not None:
            self._count = (self._count + 1) & WORD
            self._client.write_registers(self._settings.registers, [self._count, *decision_words(action)])
        self._level.apply(on=action.on)
        self._heard()

    def safe(self, reason: SafeReason) -> None:  # noqa: ARG002 - the same for every reason
        self._level.make_safe()
        if self._settings.registers is not None:
            self._client.write_registers(self._settings.registers, [self._count, SAFE, 0, 0, 0, 0])
        self._heard()

    def ready(self) -> None:
        self._level.ready()

    def due_ns(self) -> Optional[int]:
        times = [time for time in (self._level.ends_ns, self._check_ns) if time is not None]
        return min(times) if times else None

    def tick(self) -> None:
        self._level.tick()
        if self._check_ns is not None and self._clock.monotonic_ns() >= self._check_ns:
            if self._settings.coil is not None:
                self._client.read_coil(self._settings.coil)
            else:
                self._client.read_registers(self._settings.registers or 0, 1)
            self._heard()

    def close(self) -> None:
        self._client.close()

    def _drive(self, active: bool) -> None:  # noqa: FBT001 - the level itself
        if self._settings.coil is not None:
            self._client.write_coil(self._settings.coil, on=active)

    def _heard(self) -> None:
        """It has answered: the next look is due so much later."""
        if self._settings.check_s:
            self._check_ns = self._clock.monotonic_ns() + round(self._settings.check_s * 1e9)
