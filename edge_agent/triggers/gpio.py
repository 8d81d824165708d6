"""A trigger at each edge of an input line."""

from __future__ import annotations

from typing import Callable, Literal, Optional

from edge_agent.config import Settings
from edge_agent.errors import GpioError, TriggerNotConnectedError
from edge_agent.gpio import Chip, EdgeLine, open_chip
from edge_agent.triggers.base import Trigger


class GpioTriggerSettings(Settings, frozen=True, tag_field="type", tag="gpio"):
    """Edges of an input line.

    Attributes:
        chip: the GPIO chip, such as `/dev/gpiochip0`; `sim:NAME` for a simulated one.
        line: the line's number on the chip.
        edge: which edges mean a part: `rising`, `falling` or `both`.
        debounce_ms: an edge counts when this much time has passed since the one before it; 0 for a clean signal.
        bias: resistor of the input: `as_is`, `pull_up`, `pull_down` or `disabled`.
        active_low: the line is 0 V while a part is there; edges are then named the other way round.
    """

    chip: str
    line: int
    edge: Literal["rising", "falling", "both"] = "rising"
    debounce_ms: float = 0.0
    bias: Literal["as_is", "pull_up", "pull_down", "disabled"] = "as_is"
    active_low: bool = False

    def __post_init__(self) -> None:
        if not self.chip:
            raise ValueError("`chip` must name a GPIO chip, such as /dev/gpiochip0")
        if self.line < 0:
            raise ValueError("`line` must be 0 or more")
        if not 0 <= self.debounce_ms <= 10_000:
            raise ValueError("`debounce_ms` must be 0 to 10000")


class GpioTrigger:
    """Waits for the kernel's edge events; never polls the level.

    An edge that follows another within `debounce_ms` is bounce: by the kernel where it can, else by the kernel's own
    time stamps. The time of the trigger is the edge's, not that of the wake-up.
    """

    def __init__(self, settings: GpioTriggerSettings, *, chip: Callable[[str], Chip] = open_chip) -> None:
        self._settings = settings
        self._open_chip = chip
        self._chip: Optional[Chip] = None
        self._line: Optional[EdgeLine] = None
        self._last_ns: Optional[int] = None
        self._source = f"gpio {settings.line}"

    def open(self) -> None:
        self.close()
        settings = self._settings
        try:
            self._chip = self._open_chip(settings.chip)
            self._line = self._chip.edges(
                settings.line,
                edge=settings.edge,
                bias=settings.bias,
                active_low=settings.active_low,
                debounce_us=int(settings.debounce_ms * 1000),
            )
        except GpioError as error:
            self.close()
            raise TriggerNotConnectedError(self._source, error.reason, error.remedy) from error

    def wait(self, timeout: float) -> Optional[Trigger]:
        if self._line is None:
            raise TriggerNotConnectedError(self._source, "is not open")
        try:
            at_ns = self._line.next(timeout)
        except GpioError as error:
            raise TriggerNotConnectedError(self._source, error.reason, error.remedy) from error
        if at_ns is None or self._bounces(at_ns):
            return None
        return Trigger(self._source, at_ns)

    def close(self) -> None:
        line, chip, self._line, self._chip = self._line, self._chip, None, None
        if line is not None:
            line.close()
        if chip is not None:
            chip.close()

    def _bounces(self, at_ns: int) -> bool:
        last, self._last_ns = self._last_ns, at_ns
        return last is not None and at_ns - last < self._settings.debounce_ms * 1e6
