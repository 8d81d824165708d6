"""V4L2 devices: what goes beyond the contract of all cameras. No machine of ours has such a device."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Iterator

import cv2
import numpy as np
import pytest
from support.cameras.driving import capture, play, reserve
from support.cameras.v4l2 import FilesAsDevice, V4l2Rig

from edge_agent.cameras.v4l2 import CONTROLS, V4l2Camera, V4l2Settings
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError, CameraNotConnectedError, MissingExtraError


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[V4l2Rig]:
    made = V4l2Rig(tmp_path)
    made.start()
    yield made
    made.stop()


def _camera(**settings: Any) -> V4l2Camera:
    return V4l2Camera(V4l2Settings(device="/dev/video0", **settings), SystemClock())


def _device(rig: V4l2Rig) -> FilesAsDevice:
    assert rig.device is not None
    return rig.device


def test_settings_are_asked_for_the_format_first(rig: V4l2Rig) -> None:
    camera = _camera(format="MJPG", width=98, height=90, rate=30, controls={"exposure": 120, "auto_exposure": 1})
    camera.open()
    assert _device(rig).asked == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 98),
        (cv2.CAP_PROP_FRAME_HEIGHT, 90),
        (cv2.CAP_PROP_FPS, 30),
        (cv2.CAP_PROP_EXPOSURE, 120),
        (cv2.CAP_PROP_AUTO_EXPOSURE, 1),
    ]
    camera.close()
    assert _device(rig).released.wait(10)


def test_nothing_is_asked_for_that_is_not_set(rig: V4l2Rig) -> None:
    camera = _camera()
    camera.open()
    assert _device(rig).asked == []
    camera.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"format": "YUYV"}, "gives the format MJPG, not YUYV"),
        ({"width": 640, "height": 480}, "gives 98 x 90 pixels, not 640 x 480"),
        ({"rate": 60}, "gives 29.97 frames a second, not 60"),
    ],
)
def test_a_device_that_does_something_else_is_no_camera_as_configured(rig: V4l2Rig, settings: Any, words: str) -> None:
    with pytest.raises(CameraError, match=words) as caught:
        _camera(**settings).open()
    assert not isinstance(caught.value, CameraNotConnectedError)
    assert _device(rig).released.is_set()


def test_a_control_that_is_refused_is_named(rig: V4l2Rig) -> None:
    rig.refused = [cv2.CAP_PROP_GAIN]
    with pytest.raises(CameraError, match="does not take 7 for gain"):
        _camera(controls={"gain": 7}).open()


def test_every_name_of_a_control_is_one_of_opencv() -> None:
    assert all(hasattr(cv2, f"CAP_PROP_{name}") for name in CONTROLS.values())


def test_grey_pictures_become_three_equal_channels(rig: V4l2Rig) -> None:
    camera = _camera()
    camera.open()
    _device(rig).is_grey = True
    capture(camera)  # this one may have been read before
    pixels = capture(camera).pixels
    assert (pixels[:, :, 0] == pixels[:, :, 1]).all()
    assert (pixels[:, :, 0] == pixels[:, :, 2]).all()
    assert pixels.max() > 0
    camera.close()


def test_the_drivers_time_is_the_time_of_capture(rig: V4l2Rig) -> None:
    camera = _camera()
    camera.open()
    taken_ns = time.monotonic_ns()
    _device(rig).properties[cv2.CAP_PROP_POS_MSEC] = taken_ns / 1e6
    capture(camera)
    captured = capture(camera)
    assert captured.captured_ns == pytest.approx(taken_ns, abs=2e6)
    # The stamp of another clock is not believed.
    _device(rig).properties[cv2.CAP_PROP_POS_MSEC] = (taken_ns + 1e12) / 1e6
    capture(camera)
    captured = capture(camera)
    assert 0 <= time.monotonic_ns() - captured.captured_ns < 10e9
    camera.close()


def test_a_device_that_falls_silent_is_not_connected_and_closing_does_not_wait(rig: V4l2Rig) -> None:
    camera = _camera(read_timeout_s=0.3)
    camera.open()
    capture(camera)
    device = _device(rig)
    device.silent.set()
    with pytest.raises(CameraNotConnectedError, match=r"for 0\.3 s"):
        play_on(camera)
    started = time.monotonic()
    camera.close()
    assert time.monotonic() - started < 1
    device.silent.clear()
    assert device.released.wait(10)


def play_on(camera: V4l2Camera) -> None:
    for _ in range(200):
        camera.capture(reserve, 0.1)


def test_what_is_no_device_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def camera(path: str) -> V4l2Camera:
        return V4l2Camera(V4l2Settings(device=path), SystemClock())

    with pytest.raises(CameraNotConnectedError, match="video7: is not there"):
        camera(str(tmp_path / "video7")).open()
    (tmp_path / "file").touch()
    with pytest.raises(CameraError, match="is no device"):
        camera(str(tmp_path / "file")).open()
    # A device of another sort: OpenCV's V4L2 part itself refuses it.
    with pytest.raises(CameraNotConnectedError, match="cannot be opened"):
        camera("/dev/null").open()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"edge-agent\[v4l2\]"):
        camera("/dev/null").open()


def test_a_size_that_no_agent_takes_is_an_error_of_the_camera(rig: V4l2Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    small = (True, np.zeros((48, 64, 3), np.uint8))
    monkeypatch.setattr(FilesAsDevice, "read", lambda _device: small)
    with pytest.raises(CameraError, match="64 x 48 pixels"):
        play(_camera())
