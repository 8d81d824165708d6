"""Both bindings of libgpiod, against modules that note what they are asked: no chip is on this kind of machine.

With version 2 the settings are the real library's own classes, which check their arguments.
"""

from __future__ import annotations

import datetime as dt
import time
from types import SimpleNamespace
from typing import Any, Dict, List

import pytest

from edge_agent.errors import GpioError
from edge_agent.gpio.libgpiod1 import Libgpiod1Chip
from edge_agent.gpio.libgpiod2 import Libgpiod2Chip


class _Request2:
    def __init__(self, stamps: List[int]) -> None:
        self.stamps = stamps
        self.values: List[Any] = []
        self.released = 0
        self.broken = False

    def wait_edge_events(self, timeout: float) -> bool:
        if self.broken:
            raise OSError("gone")
        return bool(self.stamps)

    def read_edge_events(self) -> List[Any]:
        stamps, self.stamps = self.stamps, []
        return [SimpleNamespace(timestamp_ns=stamp) for stamp in stamps]

    def set_value(self, line: int, value: Any) -> None:
        if self.broken:
            raise OSError("gone")
        self.values.append((line, value))

    def release(self) -> None:
        self.released += 1


class _Library2:
    """The real module with another chip."""

    def __init__(self, request: _Request2, *, refuse: int = 0) -> None:
        gpiod = pytest.importorskip("gpiod", reason="needs libgpiod's Python bindings")
        if not hasattr(gpiod, "LineSettings"):
            pytest.skip("version 2 of the bindings has no wheel for this Python")
        self.line, self.LineSettings = gpiod.line, gpiod.LineSettings
        self.asked: List[Dict[int, Any]] = []
        library = self

        class Chip:
            def __init__(self, path: str) -> None:
                self.path = path

            def request_lines(self, config: Dict[int, Any], consumer: str) -> _Request2:
                library.asked.append(config)
                if len(library.asked) <= refuse:
                    raise OSError(95, "Operation not supported")
                return request

            def close(self) -> None:
                pass

        self.Chip = Chip


def _v2_edges(library: _Library2, **changes: Any) -> Any:
    options: Dict[str, Any] = {"edge": "falling", "bias": "pull_up", "active_low": True, "debounce_us": 500}
    return Libgpiod2Chip(library, "/dev/gpiochip0").edges(7, **{**options, **changes})


def test_version_2_asks_the_kernel_for_edges_and_filter() -> None:
    request = _Request2([11, 12])
    library = _Library2(request)
    line = _v2_edges(library)
    (settings,) = library.asked[0].values()
    assert list(library.asked[0]) == [7]
    assert settings.direction == library.line.Direction.INPUT
    assert settings.edge_detection == library.line.Edge.FALLING
    assert settings.bias == library.line.Bias.PULL_UP
    assert settings.active_low
    assert settings.debounce_period == dt.timedelta(microseconds=500)
    assert settings.event_clock == library.line.Clock.MONOTONIC
    assert [line.next(0.1), line.next(0.1), line.next(0.1)] == [11, 12, None]
    request.broken = True
    with pytest.raises(GpioError, match="/dev/gpiochip0 line 7: is gone"):
        line.next(0.1)
    line.close()
    assert request.released == 1


def test_version_2_without_a_filter_in_the_chip() -> None:
    library = _Library2(_Request2([]), refuse=1)
    _v2_edges(library)
    assert [next(iter(asked.values())).debounce_period for asked in library.asked][1] == dt.timedelta(0)
    with pytest.raises(GpioError, match="cannot be taken"):
        _v2_edges(_Library2(_Request2([]), refuse=2))


def test_version_2_output() -> None:
    request = _Request2([])
    library = _Library2(request)
    output = Libgpiod2Chip(library, "/dev/gpiochip0").output(4, active_low=False, active=True)
    assert library.asked[0][4].output_value == library.line.Value.ACTIVE
    output.set(active=False)
    assert request.values == [(4, library.line.Value.INACTIVE)]
    request.broken = True
    with pytest.raises(GpioError, match="cannot be driven"):
        output.set(active=True)


class _Line1:
    def __init__(self, stamps: List[dt.timedelta]) -> None:
        self.stamps = stamps
        self.request_of: Any = None
        self.values: List[int] = []
        self.released = 0

    def request(self, request: Any, value: int) -> None:
        if self.request_of is not None:
            raise OSError(16, "Device or resource busy")
        self.request_of = (request.request_type, request.flags, value)

    def event_wait(self, timeout: dt.timedelta) -> bool:
        return bool(self.stamps)

    def event_read(self) -> Any:
        return SimpleNamespace(timestamp=self.stamps.pop(0))

    def set_value(self, value: int) -> None:
        self.values.append(value)

    def release(self) -> None:
        self.released += 1


def _library1(line: _Line1) -> Any:
    class Chip:
        OPEN_BY_PATH = 2

        def __init__(self, path: str, how: int) -> None:
            assert how == self.OPEN_BY_PATH

        def get_line(self, offset: int) -> _Line1:
            return line

        def reset(self) -> None:
            pass

    class Request:
        DIRECTION_OUTPUT, EVENT_FALLING_EDGE, EVENT_RISING_EDGE, EVENT_BOTH_EDGES = 3, 4, 5, 6
        FLAG_ACTIVE_LOW, FLAG_BIAS_DISABLE, FLAG_BIAS_PULL_DOWN, FLAG_BIAS_PULL_UP = 1, 8, 16, 32

    return SimpleNamespace(chip=Chip, line_request=Request)


def test_version_1_reads_both_clocks() -> None:
    now, wall = time.monotonic_ns(), time.time_ns()
    line = _Line1([dt.timedelta(microseconds=now // 1000), dt.timedelta(microseconds=wall // 1000)])
    edges = Libgpiod1Chip(_library1(line), "/dev/gpiochip0").edges(
        7, edge="rising", bias="pull_down", active_low=True, debounce_us=0
    )
    assert line.request_of == (5, 16 | 1, 0)
    for _clock in range(2):
        at_ns = edges.next(0.1)
        assert at_ns is not None
        assert abs(at_ns - now) < 2e9
    assert edges.next(0.1) is None
    edges.close()
    assert line.released == 1


def test_version_1_output_and_a_line_that_is_taken() -> None:
    line = _Line1([])
    chip = Libgpiod1Chip(_library1(line), "/dev/gpiochip0")
    output = chip.output(4, active_low=False, active=True)
    assert line.request_of == (3, 0, 1)
    output.set(active=False)
    assert line.values == [0]
    with pytest.raises(GpioError, match="/dev/gpiochip0 line 4: cannot be taken"):
        chip.output(4, active_low=False, active=True)
