"""A GPIO line that is driven: a reject gate, a lamp, an input of a PLC."""

from __future__ import annotations

from typing import Optional

from edge_agent.config import Settings
from edge_agent.errors import GpioError, OutputNotConnectedError
from edge_agent.gpio import Chip, OutputLine, open_chip
from edge_agent.outputs.base import Action, Output, OutputContext, SafeReason
from edge_agent.outputs.level import Level, Mode, SafeLevel, pulse_problem


class GpioOutputSettings(Settings, frozen=True, tag_field="type", tag="gpio"):
    """A line of a GPIO chip.

    Attributes:
        chip: the GPIO chip, such as `/dev/gpiochip0`; `sim:DIRECTORY` for a simulated one.
        line: the line's number on the chip.
        mode: `pulse`: active for `pulse_ms`; `latch`: active until a part is judged that does not meet the rule.
        pulse_ms: milliseconds, 0.1 to 60000; an action during a pulse makes it longer.
        active_low: 0 V is the active level.
        safe: level of the safe state: `inactive`, `active`, or `hold` (as it is).
    """

    chip: str
    line: int
    mode: Mode = "pulse"
    pulse_ms: float = 100.0
    active_low: bool = False
    safe: SafeLevel = "inactive"

    def __post_init__(self) -> None:
        if not self.chip:
            raise ValueError("`chip` must name a GPIO chip, such as /dev/gpiochip0")
        if self.line < 0:
            raise ValueError("`line` must be 0 or more")
        problem = pulse_problem(self.pulse_ms)
        if problem:
            raise ValueError(problem)


class GpioOutput(Output):
    drives = True

    def __init__(self, settings: GpioOutputSettings, context: OutputContext) -> None:
        self._settings = settings
        self.follows = settings.mode == "latch"
        self._level = Level(self._drive, settings.mode, settings.pulse_ms, settings.safe, context.clock)
        self._chip: Optional[Chip] = None
        self._line: Optional[OutputLine] = None
        # What `hold` holds when the line is taken again.
        self._active = False

    def open(self) -> None:
        self.close()
        settings = self._settings
        # Taken at its safe level: what the last part left there is long past.
        active = self._active if settings.safe == "hold" else settings.safe == "active"
        try:
            self._chip = open_chip(settings.chip)
            self._line = self._chip.output(settings.line, active_low=settings.active_low, active=active)
        except GpioError as error:
            raise OutputNotConnectedError(error.subject, error.reason, error.remedy) from error

    def apply(self, action: Action) -> None:
        self._level.apply(on=action.on)

    def safe(self, reason: SafeReason) -> None:  # noqa: ARG002 - the same for every reason
        self._level.make_safe()

    def ready(self) -> None:
        self._level.ready()

    def due_ns(self) -> Optional[int]:
        return self._level.ends_ns

    def tick(self) -> None:
        self._level.tick()

    def close(self) -> None:
        line, chip, self._line, self._chip = self._line, self._chip, None, None
        if line is not None:
            line.close()
        if chip is not None:
            chip.close()

    def _drive(self, active: bool) -> None:  # noqa: FBT001 - the level itself
        if self._line is None:
            raise OutputNotConnectedError(f"{self._settings.chip} line {self._settings.line}", "is not open")
        try:
            self._line.set(active=active)
        except GpioError as error:
            raise OutputNotConnectedError(error.subject, error.reason, error.remedy) from error
        self._active = active
