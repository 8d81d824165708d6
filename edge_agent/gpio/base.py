"""What the rest of the package sees of a GPIO chip."""

from __future__ import annotations

from typing import Optional, Protocol


class EdgeLine(Protocol):
    """An input line whose edges the kernel reports."""

    def next(self, timeout: float) -> Optional[int]:
        """When the next edge was: the monotonic clock, nanoseconds; None when there was none in `timeout` seconds.

        Raises:
            GpioError: the chip is gone.
        """

    def close(self) -> None:
        """Give the line back; any number of times."""


class OutputLine(Protocol):
    """A line that is driven."""

    def set(self, *, active: bool) -> None:
        """Drive it.

        Raises:
            GpioError: the chip is gone.
        """

    def close(self) -> None:
        """Give the line back; any number of times."""


class Chip(Protocol):
    """One GPIO chip, opened."""

    def edges(self, line: int, *, edge: str, bias: str, active_low: bool, debounce_us: int) -> EdgeLine:
        """Take an input line.

        Args:
            line: its number on the chip.
            edge: `rising`, `falling` or `both`; of the logical level, that is after `active_low`.
            bias: `as_is`, `pull_up`, `pull_down` or `disabled`.
            active_low: 0 V is the active level.
            debounce_us: microseconds for the kernel's own filter; a chip that has none reports every edge.

        Raises:
            GpioError: no such line, or another program has it.
        """

    def output(self, line: int, *, active_low: bool, active: bool) -> OutputLine:
        """Take an output line, driven as `active` says from the first moment.

        Raises:
            GpioError: as `edges`.
        """

    def close(self) -> None:
        """Let go of the chip; any number of times. Lines that were taken are given back by their own `close`."""
