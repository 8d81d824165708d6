"""Real chips through version 2 of libgpiod's Python bindings (Python 3.9 and newer)."""

from __future__ import annotations

import datetime as dt
from collections import deque
from typing import Any, Deque, Optional

from edge_agent.errors import GpioError

_CONSUMER = "edge-agent"


class Libgpiod2Chip:
    """`gpiod` is the imported module."""

    def __init__(self, gpiod: Any, path: str) -> None:
        self._gpiod = gpiod
        self._path = path
        try:
            self._chip = gpiod.Chip(path)
        except (OSError, ValueError) as error:
            raise GpioError(path, f"cannot be opened ({error})", "Name a chip that `gpiodetect` lists.") from error

    def edges(self, line: int, *, edge: str, bias: str, active_low: bool, debounce_us: int) -> _Edges:
        kinds = self._gpiod.line
        settings = {
            "direction": kinds.Direction.INPUT,
            "edge_detection": kinds.Edge[edge.upper()],
            "bias": kinds.Bias[bias.upper()],
            "active_low": active_low,
            "event_clock": kinds.Clock.MONOTONIC,
        }
        debounce = dt.timedelta(microseconds=debounce_us)
        try:
            request = self._request(line, debounce_period=debounce, **settings)
        except GpioError:
            if not debounce_us:
                raise
            # Not every chip can filter; whoever asked looks at the time stamps anyway.
            request = self._request(line, **settings)
        return _Edges(f"{self._path} line {line}", request)

    def output(self, line: int, *, active_low: bool, active: bool) -> _Output:
        kinds = self._gpiod.line
        value = kinds.Value.ACTIVE if active else kinds.Value.INACTIVE
        request = self._request(line, direction=kinds.Direction.OUTPUT, active_low=active_low, output_value=value)
        return _Output(f"{self._path} line {line}", request, line, kinds.Value)

    def close(self) -> None:
        self._chip.close()

    def _request(self, line: int, **settings: Any) -> Any:
        try:
            return self._chip.request_lines({line: self._gpiod.LineSettings(**settings)}, consumer=_CONSUMER)
        except (OSError, ValueError) as error:
            raise GpioError(
                f"{self._path} line {line}", f"cannot be taken ({error})", "See `gpioinfo` for who has it."
            ) from error


class _Edges:
    def __init__(self, subject: str, request: Any) -> None:
        self._subject = subject
        self._request = request
        self._waiting: Deque[int] = deque()

    def next(self, timeout: float) -> Optional[int]:
        try:
            if not self._waiting and self._request.wait_edge_events(timeout):
                self._waiting.extend(event.timestamp_ns for event in self._request.read_edge_events())
        except OSError as error:
            raise GpioError(self._subject, f"is gone ({error})") from error
        return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        self._request.release()


class _Output:
    def __init__(self, subject: str, request: Any, line: int, values: Any) -> None:
        self._subject = subject
        self._request = request
        self._line = line
        self._values = values

    def set(self, *, active: bool) -> None:
        try:
            self._request.set_value(self._line, self._values.ACTIVE if active else self._values.INACTIVE)
        except OSError as error:
            raise GpioError(self._subject, f"cannot be driven ({error})") from error

    def close(self) -> None:
        self._request.release()
