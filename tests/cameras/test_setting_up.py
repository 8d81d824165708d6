"""What the commands for setting up are made of: words for cameras, a short look, numbers of a frame, what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import pytest

from edge_agent.cameras import Captured, Reserve, make_camera
from edge_agent.cameras import attached as attached_module
from edge_agent.cameras.attached import attached, kinds
from edge_agent.cameras.folder import FolderSettings
from edge_agent.cameras.genicam import Found, GenicamSettings
from edge_agent.cameras.gstreamer import GstreamerSettings
from edge_agent.cameras.look import look
from edge_agent.cameras.replay import ReplaySettings
from edge_agent.cameras.sample import SampleSettings
from edge_agent.cameras.statistics import frame_statistics
from edge_agent.cameras.targets import settings_for
from edge_agent.cameras.v4l2 import V4l2Settings
from edge_agent.cameras.video import VideoSettings
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError, CameraNotConnectedError, EndOfInputError, ImageError, MissingExtraError


@pytest.mark.parametrize(
    ("target", "kind", "values"),
    [
        ("sample:", SampleSettings, {}),
        ("sample:7", SampleSettings, {"seed": 7}),
        ("rtsp://user:word@10.0.0.1/stream", VideoSettings, {"source": "rtsp://user:word@10.0.0.1/stream"}),
        ("HTTP://10.0.0.1/mjpeg", VideoSettings, {"source": "HTTP://10.0.0.1/mjpeg"}),
        ("films/line.mp4", VideoSettings, {"source": "films/line.mp4"}),
        ("10.0.0.7", GenicamSettings, {"device": "10.0.0.7"}),
        ("40012345", GenicamSettings, {"device": "40012345"}),
        ("left camera", GenicamSettings, {"device": "left camera"}),
        ("genicam:sample", GenicamSettings, {"device": "sample"}),
        ("genicam:", GenicamSettings, {"device": ""}),
        ("/dev/video3", V4l2Settings, {"device": "/dev/video3"}),
        ("/dev/v4l/by-id/usb-left", V4l2Settings, {"device": "/dev/v4l/by-id/usb-left"}),
        ("gstreamer:videotestsrc ! queue", GstreamerSettings, {"pipeline": "videotestsrc ! queue"}),
        ("replay:/recordings", ReplaySettings, {"path": "/recordings"}),
    ],
)
def test_a_word_means_a_camera(target: str, kind: type, values: Dict[str, Any]) -> None:
    settings = settings_for(target)
    assert type(settings) is kind
    assert {name: getattr(settings, name) for name in values} == values


def test_a_directory_and_a_file_are_what_they_are(tmp_path: Path) -> None:
    assert settings_for(str(tmp_path)) == FolderSettings(path=str(tmp_path), watch=False)
    film = tmp_path / "film"
    film.touch()
    assert settings_for(str(film)) == VideoSettings(source=str(film))


class _Scripted:
    """Gives what the script says, an item for each call."""

    free_running = True

    def __init__(self, *script: object) -> None:
        self._script = list(script)
        self.closed = False

    def open(self) -> None:
        pass

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        item = self._script.pop(0) if self._script else None
        if isinstance(item, Exception):
            raise item
        if item is None:
            return None
        assert isinstance(item, int)
        pixels = reserve(64, 64)
        pixels[...] = item
        return Captured(f"frame {item}", 0, item * 100_000_000, pixels)

    def describe(self) -> Dict[str, Any]:
        return {"name": "scripted"}

    def close(self) -> None:
        self.closed = True


def _look(camera: Any, frames: int = 3) -> Any:
    return look(camera, "camera under test", SystemClock(), frames=frames, within_s=0.2, first_s=0.2)


def test_a_look_takes_frames_and_measures_their_rate() -> None:
    camera = _Scripted(None, 1, ImageError("frame", "is torn"), 2, 3, 4)
    seen = _look(camera)
    assert (seen.frames, seen.failed, seen.rate, seen.last.source) == (3, 1, 10.0, "frame 3")
    assert seen.details == {"name": "scripted"}
    assert camera.closed


def test_a_look_is_content_with_what_there_is() -> None:
    seen = _look(_Scripted(5, EndOfInputError("camera", "has no more")))
    assert (seen.frames, seen.rate) == (1, None)
    assert _look(_Scripted(5)).frames == 1


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ([], CameraError, r"camera under test: gave no frame within 0\.2 s"),
        ([EndOfInputError("camera", "has no more")], CameraError, "gave no frame"),
        ([ImageError("frame", "is torn")], ImageError, "is torn"),
        ([CameraNotConnectedError("camera", "is gone")], CameraNotConnectedError, "is gone"),
    ],
)
def test_a_look_that_shows_nothing_says_why(script: List[object], error: type, words: str) -> None:
    camera = _Scripted(*script)
    with pytest.raises(error, match=words):
        _look(camera)
    assert camera.closed


def test_the_numbers_of_a_frame() -> None:
    pixels = np.full((64, 80, 3), 100, np.uint8)
    even = frame_statistics(pixels)
    assert (even.mean, even.minimum, even.maximum, even.saturated) == (pytest.approx(100), 100, 100, 0)
    assert even.sharpness == pytest.approx(0, abs=1e-6)
    pixels[10, 10] = (255, 0, 0)
    spot = frame_statistics(pixels)
    assert spot.saturated == pytest.approx(1 / (64 * 80))
    assert (spot.minimum, spot.maximum) == (0, 255)
    # One grey value off by d: the Laplacian is -4 d there and d at its four neighbours, 0 elsewhere.
    off = 0.299 * 255 - 100
    expected = (20 * off**2) / (62 * 78)
    assert spot.sharpness == pytest.approx(expected, rel=1e-3)
    blurred = pixels.copy()
    blurred[9:12, 9:12] = pixels[9:12, 9:12].mean(axis=(0, 1))
    assert frame_statistics(blurred).sharpness < spot.sharpness


def test_what_is_attached_has_a_word_that_means_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cameras = [
        Found("A-B-1", "00:11", "10.0.0.1", "A", "B", "1", "GigEVision"),
        Found("A-B-1", "00:12", "10.0.0.2", "A", "B", "1", "GigEVision"),
        Found("A-B-3", "00:13", "10.0.0.3", "A", "B", "3", "GigEVision"),
    ]
    for number, (name, index) in enumerate((("HD Webcam", "0"), ("HD Webcam", "1"), ("Second", "0"))):
        node = tmp_path / f"video{number}"
        node.mkdir()
        (node / "name").write_text(name + "\n")
        (node / "index").write_text(index + "\n")
    monkeypatch.setattr(attached_module, "discover", lambda: cameras)
    monkeypatch.setattr(attached_module, "_VIDEO_DEVICES", tmp_path)
    found = attached()
    assert [(camera.kind, camera.target) for camera in found] == [
        ("genicam", "10.0.0.1"),
        ("genicam", "10.0.0.2"),
        ("genicam", "3"),
        ("v4l2", "/dev/video0"),
        ("v4l2", "/dev/video2"),
    ]
    assert found[3].name == "HD Webcam"


def test_without_aravis_the_rest_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise CameraError("Aravis", "is not installed", "Install it.")

    monkeypatch.setattr(attached_module, "discover", none)
    monkeypatch.setattr(attached_module, "aravis", none)
    assert not [camera for camera in attached() if camera.kind == "genicam"]
    assert "Aravis: is not installed" in str(kinds()["genicam"])
    assert kinds()["folder"] is None


def test_a_kind_names_the_extra_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = kinds()["video"]
    assert isinstance(missing, MissingExtraError)
    assert "pip install 'edge-agent[video]'" in str(missing)


def test_every_kind_can_be_made() -> None:
    for target in ("sample:", "/tmp", "rtsp://host/x", "10.0.0.1"):
        make_camera(settings_for(target), SystemClock()).close()
