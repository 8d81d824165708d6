"""Real chips through the module that PyPI calls gpiod 1.5: all there is for Python 3.8.

It has no debounce filter, and kernels before 5.7 stamp edges with the wall clock; both are made good here.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import Any, Optional

from edge_agent.errors import GpioError

_CONSUMER = "edge-agent"

# An edge further than this from now on the monotonic clock was stamped with the wall clock.
_FAR_NS = 3600 * 10**9


class Libgpiod1Chip:
    """`gpiod` is the imported module."""

    def __init__(self, gpiod: Any, path: str) -> None:
        self._gpiod = gpiod
        self._path = path
        try:
            self._chip = gpiod.chip(path, gpiod.chip.OPEN_BY_PATH)
        except OSError as error:
            raise GpioError(path, f"cannot be opened ({error})", "Name a chip that `gpiodetect` lists.") from error

    def edges(self, line: int, *, edge: str, bias: str, active_low: bool, debounce_us: int) -> _Edges:  # noqa: ARG002 - no filter in this version
        kinds = self._gpiod.line_request
        request_type = {"rising": kinds.EVENT_RISING_EDGE, "falling": kinds.EVENT_FALLING_EDGE}
        flags = {
            "pull_up": kinds.FLAG_BIAS_PULL_UP,
            "pull_down": kinds.FLAG_BIAS_PULL_DOWN,
            "disabled": kinds.FLAG_BIAS_DISABLE,
        }.get(bias, 0)
        taken = self._take(line, request_type.get(edge, kinds.EVENT_BOTH_EDGES), flags, active_low=active_low)
        return _Edges(f"{self._path} line {line}", taken)

    def output(self, line: int, *, active_low: bool, active: bool) -> _Output:
        kinds = self._gpiod.line_request
        taken = self._take(line, kinds.DIRECTION_OUTPUT, 0, active_low=active_low, value=int(active))
        return _Output(f"{self._path} line {line}", taken)

    def close(self) -> None:
        self._chip.reset()

    def _take(self, line: int, request_type: int, flags: int, *, active_low: bool, value: int = 0) -> Any:
        request = self._gpiod.line_request()
        request.consumer = _CONSUMER
        request.request_type = request_type
        request.flags = flags | (self._gpiod.line_request.FLAG_ACTIVE_LOW if active_low else 0)
        try:
            taken = self._chip.get_line(line)
            taken.request(request, value)
        except (OSError, IndexError) as error:
            raise GpioError(
                f"{self._path} line {line}", f"cannot be taken ({error})", "See `gpioinfo` for who has it."
            ) from error
        return taken


class _Edges:
    def __init__(self, subject: str, line: Any) -> None:
        self._subject = subject
        self._line = line

    def next(self, timeout: float) -> Optional[int]:
        try:
            if not self._line.event_wait(dt.timedelta(seconds=timeout)):
                return None
            stamp: dt.timedelta = self._line.event_read().timestamp
        except OSError as error:
            raise GpioError(self._subject, f"is gone ({error})") from error
        at_ns = (stamp // dt.timedelta(microseconds=1)) * 1000
        now_ns = time.monotonic_ns()
        return at_ns if abs(now_ns - at_ns) < _FAR_NS else now_ns - max(0, time.time_ns() - at_ns)

    def close(self) -> None:
        self._line.release()


class _Output:
    def __init__(self, subject: str, line: Any) -> None:
        self._subject = subject
        self._line = line

    def set(self, *, active: bool) -> None:
        try:
            self._line.set_value(int(active))
        except OSError as error:
            raise GpioError(self._subject, f"cannot be driven ({error})") from error

    def close(self) -> None:
        self._line.release()
