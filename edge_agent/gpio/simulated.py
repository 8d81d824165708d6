"""A GPIO chip made of files, for machines without one: `sim:DIRECTORY` in place of `/dev/gpiochip0`.

    line17       a named pipe: `echo 1 > line17` and `echo 0 > line17` set the input line 17, made when it is taken
    line4.out    what was driven on the output line 4: a line `<monotonic ns> <0|1>` for each setting

Levels are those of the wire: with `active_low`, 0 is active. A removed directory is a chip that was unplugged.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from pathlib import Path
from typing import Deque, Optional

from edge_agent.errors import GpioError


class SimulatedChip:
    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise GpioError(f"sim:{directory}", "is no directory", "Make it, or name a real chip.")
        self._directory = directory

    def edges(self, line: int, *, edge: str, bias: str, active_low: bool, debounce_us: int) -> SimulatedInput:  # noqa: ARG002 - no resistors and no filter here
        return SimulatedInput(self._directory / f"line{line}", edge, active_low=active_low, pulled_up=bias == "pull_up")

    def output(self, line: int, *, active_low: bool, active: bool) -> SimulatedOutput:
        output = SimulatedOutput(self._directory / f"line{line}.out", active_low=active_low)
        output.set(active=active)
        return output

    def close(self) -> None:
        """Nothing is held."""


class SimulatedInput:
    def __init__(self, pipe: Path, edge: str, *, active_low: bool, pulled_up: bool) -> None:
        self._pipe = pipe
        self._wanted = {"rising": (True,), "falling": (False,)}.get(edge, (True, False))
        self._active_low = active_low
        self._level = pulled_up
        self._edges: Deque[int] = deque()
        try:
            if not pipe.exists():
                os.mkfifo(pipe, 0o600)
            # For writing, too: without a writer a pipe is for ever at its end.
            self._file = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise GpioError(f"sim:{pipe}", f"cannot be opened ({error.strerror})") from error

    def next(self, timeout: float) -> Optional[int]:
        if not self._edges:
            if not self._pipe.exists():
                raise GpioError(f"sim:{self._pipe}", "is gone")
            ready, _, _ = select.select([self._file], [], [], timeout)
            if ready:
                self._take(os.read(self._file, 4096), time.monotonic_ns())
        return self._edges.popleft() if self._edges else None

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _take(self, written: bytes, now_ns: int) -> None:
        for level in (character == ord("1") for character in written if character in b"01"):
            changed, self._level = level != self._level, level
            if changed and (level != self._active_low) in self._wanted:
                self._edges.append(now_ns)


class SimulatedOutput:
    def __init__(self, record: Path, *, active_low: bool) -> None:
        self._record = record
        self._active_low = active_low

    def set(self, *, active: bool) -> None:
        level = int(active != self._active_low)
        try:
            with self._record.open("a", encoding="ascii") as stream:
                stream.write(f"{time.monotonic_ns()} {level}\n")
        except OSError as error:
            raise GpioError(f"sim:{self._record}", f"cannot be driven ({error.strerror})") from error

    def close(self) -> None:
        """Nothing is held."""
