"""Sources of triggers."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import List, Optional

import pytest

from edge_agent.config import convert
from edge_agent.errors import ConfigError, TriggerNotConnectedError
from edge_agent.triggers import (
    ContinuousSettings,
    GpioTriggerSettings,
    IntervalSettings,
    MessageSettings,
    Trigger,
    TriggerSettings,
    make_trigger,
)
from edge_agent.triggers.gpio import GpioTrigger
from edge_agent.triggers.interval import IntervalTrigger


class _Clock:
    """Time passes only in waits."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now_ns += round(seconds * 1e9)
        return event.is_set()

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


def test_an_interval_keeps_its_times() -> None:
    clock = _Clock()
    trigger = IntervalTrigger(IntervalSettings(seconds=0.1), clock)
    trigger.open()
    opened = clock.now_ns
    came: List[Trigger] = []
    while len(came) < 5:
        one = trigger.wait(0.03)
        if one is not None:
            came.append(one)
            clock.now_ns += 40_000_000  # whoever takes it is slow; the next one is not moved by that
    assert [(one.triggered_ns - opened) // 1_000_000 for one in came] == [100, 200, 300, 400, 500]
    assert len({one.id for one in came}) == 5


def test_times_that_passed_in_a_pause_are_left_out() -> None:
    clock = _Clock()
    trigger = IntervalTrigger(IntervalSettings(seconds=0.1), clock)
    trigger.open()
    opened = clock.now_ns
    clock.now_ns += 1_050_000_000
    first, second = trigger.wait(0.2), trigger.wait(0.2)
    assert first is not None
    assert second is not None
    assert [(one.triggered_ns - opened) // 1_000_000 for one in (first, second)] == [1000, 1100]


class _Edges:
    def __init__(self, edges: List[int]) -> None:
        self._edges = edges
        self.closed = 0

    def next(self, timeout: float) -> Optional[int]:
        return self._edges.pop(0) if self._edges else None

    def close(self) -> None:
        self.closed += 1


class _Chip:
    def __init__(self, line: _Edges) -> None:
        self.line = line

    def edges(self, line: int, **options: object) -> _Edges:
        return self.line

    def output(self, line: int, **options: object) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


def test_bounce_is_told_by_the_time_stamps() -> None:
    stamps = [10_000_000, 11_000_000, 12_500_000, 30_000_000, 50_000_000]
    line = _Edges(list(stamps))
    settings = GpioTriggerSettings(chip="/dev/gpiochip0", line=3, debounce_ms=5)
    trigger = GpioTrigger(settings, chip=lambda _name: _Chip(line))  # type: ignore[arg-type, return-value] # enough of one
    trigger.open()
    taken = [one.triggered_ns for one in (trigger.wait(0) for _ in stamps) if one is not None]
    assert taken == [10_000_000, 30_000_000, 50_000_000]
    trigger.close()
    trigger.close()
    assert line.closed == 1


def test_a_simulated_line_triggers_and_comes_back(tmp_path: Path) -> None:
    chip = tmp_path / "chip"
    trigger = GpioTrigger(GpioTriggerSettings(chip=f"sim:{chip}", line=17))
    with pytest.raises(TriggerNotConnectedError, match="gpio 17: is no directory"):
        trigger.open()
    for _life in range(2):
        chip.mkdir()
        trigger.open()
        (chip / "line17").write_text("1")
        one = trigger.wait(2.0)
        assert one is not None
        assert one.source == "gpio 17"
        shutil.rmtree(chip)
        with pytest.raises(TriggerNotConnectedError):
            trigger.wait(0.01)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"type": "continuous"}, ContinuousSettings()),
        ({"type": "interval", "seconds": "0.5"}, IntervalSettings(seconds=0.5)),
        ({"type": "message", "source": "http"}, MessageSettings(source="http")),
        ({"type": "gpio", "chip": "/dev/gpiochip0", "line": "4"}, GpioTriggerSettings(chip="/dev/gpiochip0", line=4)),
    ],
)
def test_settings(values: object, expected: TriggerSettings) -> None:
    settings = convert(values, TriggerSettings, "file")  # type: ignore[arg-type] # a union is a type to msgspec
    assert settings == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"type": "interval", "seconds": 0}, "`seconds` must be"),
        ({"type": "message", "source": "http", "topic": "a"}, "`topic`"),
        ({"type": "message", "source": "local"}, "`topic`"),
        ({"type": "gpio", "chip": "", "line": 1}, "`chip`"),
        ({"type": "gpio", "chip": "a", "line": -1}, "`line`"),
        ({"type": "gpio", "chip": "a", "line": 1, "debounce_ms": -1}, "`debounce_ms`"),
        ({"type": "lever"}, "lever"),
    ],
)
def test_settings_that_make_no_sense(values: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        convert(values, TriggerSettings, "file")  # type: ignore[arg-type] # as above


def test_what_needs_no_source() -> None:
    clock = _Clock()
    assert make_trigger(ContinuousSettings(), clock) is None
    assert make_trigger(MessageSettings(source="http"), clock) is None
    assert isinstance(make_trigger(IntervalSettings(seconds=1), clock), IntervalTrigger)
