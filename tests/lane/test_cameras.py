"""Lanes with real cameras."""

from __future__ import annotations

import sys
from typing import Callable

import pytest
from support.waiting import until

from edge_agent.cameras.video import VideoCamera, VideoSettings
from edge_agent.clock import SystemClock
from edge_agent.lane import Lane


def test_a_camera_whose_library_is_missing_waits_for_it_and_says_so_once(
    start_lane: Callable[..., Lane], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    camera = VideoCamera(VideoSettings(source="/videos/a.mkv"), SystemClock())
    lane = start_lane(camera, name="video")
    until(lambda: lane.status()["camera"] == "gone")
    assert not lane.faulty()
    lane.close(5.0)
    lines = [record.message for record in caplog.records if "edge-agent[video]" in record.message]
    assert len(lines) == 1
