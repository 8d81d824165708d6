"""What is said of a camera: when it goes, when it is back, when its picture froze."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from edge_agent.errors import CameraNotConnectedError
from edge_agent.lane.watch import CameraWatch

SECOND = 10**9


def test_a_frozen_picture_is_stale_until_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    watch = CameraWatch("lane a", silent_after_s=0, stale_after_s=2)
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(2)]
    states = []
    for second, picture in enumerate([0, 0, 0, 0, 1, 1, 1]):
        watch.works()
        watch.frame(pictures[picture], second * SECOND)
        states.append(watch.state())
    assert states == ["live", "live", "stale", "stale", "live", "live", "stale"]
    assert watch.stale_times() == 2
    assert caplog.text.count("the same picture for 2 s") == 2
    assert caplog.text.count("changes again") == 1


def test_silence() -> None:
    watch = CameraWatch("lane a", silent_after_s=5, stale_after_s=0)
    watch.opened(10 * SECOND)
    assert not watch.is_silent(14 * SECOND)
    assert watch.is_silent(16 * SECOND)
    watch.frame(np.zeros((64, 64, 3), np.uint8), 16 * SECOND)
    assert not watch.is_silent(20 * SECOND)
    assert not CameraWatch("lane a", silent_after_s=0, stale_after_s=0).is_silent(10**18)


def test_one_line_when_it_goes_and_one_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    watch = CameraWatch("lane a", silent_after_s=0, stale_after_s=0)
    assert watch.state() == "opening"
    caplog.set_level(logging.DEBUG)
    for reason in ("ended its stream", "ended its stream", "cannot be opened", "cannot be opened", "ended its stream"):
        watch.failed(CameraNotConnectedError("camera", reason))
    assert watch.state() == "gone"
    watch.works()
    watch.works()
    assert watch.state() == "live"
    watch.failed(CameraNotConnectedError("camera", "cannot be opened"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "lane a: camera: waiting: camera: ended its stream"),
        ("DEBUG", "lane a: camera: waiting: camera: cannot be opened"),
        ("DEBUG", "lane a: camera: waiting: camera: ended its stream"),
        ("WARNING", "lane a: camera: works again"),
        ("WARNING", "lane a: camera: waiting: camera: cannot be opened"),
    ]
