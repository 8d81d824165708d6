"""What edge_agent/cameras/base.py promises, asked of every kind of camera with its real source."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple, Type

import numpy as np
import pytest
from support.cameras import RIGS
from support.cameras.driving import capture
from support.cameras.rig import Rig

from edge_agent.agent import read_settings
from edge_agent.cameras import Camera, make_camera
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError, CameraNotConnectedError, ConfigError, EndOfInputError, ImageError
from edge_agent.frame import Pixels

# Bytes on each side of what a camera is given, and what they hold.
_GUARD, _CANARY = 4096, 0xA5


class Place:
    """Memory for one frame with guards around it, as a ring's slot is memory with other slots around it."""

    def __init__(self) -> None:
        self.asked: List[Tuple[int, int]] = []

    def reserve(self, height: int, width: int) -> Pixels:
        self.asked.append((height, width))
        self._memory = np.full(height * width * 3 + 2 * _GUARD, _CANARY, np.uint8)
        self.view: Pixels = self._memory[_GUARD:-_GUARD].reshape(height, width, 3)
        return self.view

    def is_intact(self) -> bool:
        return bool((self._memory[:_GUARD] == _CANARY).all() and (self._memory[-_GUARD:] == _CANARY).all())


def make(settings: Dict[str, Any]) -> Camera:
    """The camera that an inspector with these settings would make."""
    lanes = {"line-1": {"model": "com.example.Model", "camera": settings}}
    return make_camera(
        read_settings({"lanes": lanes}, "inspector.yaml", thing="t").lanes["line-1"].camera, SystemClock()
    )


def _rigs(**wanted: bool) -> pytest.MarkDecorator:
    """The test runs with those rigs alone whose attributes are so."""
    rigs = [rig for rig in RIGS if all(getattr(rig, name) is value for name, value in wanted.items())]
    return pytest.mark.parametrize("rig", rigs, indirect=True, ids=lambda rig: rig.name)


@pytest.fixture(params=RIGS, ids=lambda rig: rig.name)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    kind: Type[Rig] = request.param
    if kind.missing():
        pytest.skip(f"not here: {kind.missing()}")
    made = kind(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def camera(rig: Rig) -> Iterator[Camera]:
    """With its source there, not opened yet."""
    rig.start()
    made = make(rig.settings())
    yield made
    made.close()


def test_frames_come_in_order_with_their_colours_and_then_the_end(rig: Rig, camera: Camera) -> None:
    camera.open()
    count = rig.frames or 4
    numbers = [rig.check(capture(camera).pixels) for _ in range(count)]
    assert numbers == sorted(set(numbers)), "numbers must grow"
    if rig.frames is not None:
        assert numbers == list(range(rig.frames))
        for _ in range(2):
            with pytest.raises(EndOfInputError):
                camera.capture(Place().reserve, 5)


def test_pixels_are_written_into_the_place_that_was_reserved_and_nowhere_else(rig: Rig, camera: Camera) -> None:
    camera.open()
    for _ in range(2):
        place = Place()
        captured = capture(camera, place.reserve)
        assert place.asked == [rig.shape()]
        assert captured.pixels.shape == (*rig.shape(), 3)
        assert captured.pixels.ctypes.data == place.view.ctypes.data
        assert place.is_intact()
        rig.check(place.view)


def test_a_frame_says_where_it_came_from_and_when(rig: Rig, camera: Camera) -> None:
    camera.open()
    clock = SystemClock()
    first = capture(camera)
    second = capture(camera)
    for captured in (first, second):
        assert captured.source
        assert 0 <= clock.wall_ns() - captured.captured_at_ns < 60e9
        assert 0 <= clock.monotonic_ns() - captured.captured_ns < 60e9
    assert first.captured_ns <= second.captured_ns


def test_it_opens_again_after_it_was_closed(rig: Rig, camera: Camera) -> None:
    camera.open()
    rig.check(capture(camera).pixels)
    camera.close()
    camera.close()
    camera.open()
    rig.check(capture(camera).pixels)


def test_closing_what_was_never_opened_is_fine(rig: Rig) -> None:
    camera = make(rig.settings())
    camera.close()
    camera.close()


def _until_an_error(camera: Camera, seconds: float) -> CameraError:
    """Open and capture as a lane does, until a camera error ends it."""
    deadline = time.monotonic() + seconds
    try:
        camera.open()
        while time.monotonic() < deadline:
            camera.capture(Place().reserve, 0.2)
    except CameraError as error:
        return error
    pytest.fail(f"nothing was noticed within {seconds} s")


@_rigs(has_source=True)
def test_a_missing_source_is_not_connected_and_is_found_when_it_is_there(rig: Rig) -> None:
    camera = make(rig.settings())
    error = _until_an_error(camera, rig.notice_s)
    camera.close()
    assert isinstance(error, CameraNotConnectedError)
    assert error.subject
    assert error.reason
    rig.start()
    camera.open()
    rig.check(capture(camera).pixels)
    camera.close()


@_rigs(has_source=True, notices_loss=True)
def test_a_source_that_goes_is_noticed_and_found_again(rig: Rig, camera: Camera) -> None:
    camera.open()
    capture(camera)
    rig.stop()
    with pytest.raises((CameraNotConnectedError, EndOfInputError)):
        _capture_for(camera, rig.notice_s)
    camera.close()
    rig.start()
    camera.open()
    rig.check(capture(camera).pixels)


def _capture_for(camera: Camera, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            camera.capture(Place().reserve, 0.2)
        except ImageError:
            """A frame may be torn while its source goes."""


@_rigs(can_be_silent=True)
def test_silence_ends_a_call_in_its_time_and_nothing_is_reserved(rig: Rig, camera: Camera) -> None:
    camera.open()
    capture(camera)
    rig.silence()
    while camera.capture(Place().reserve, 0.2) is not None:
        """Frames that were on their way."""
    place = Place()
    started = time.monotonic()
    assert camera.capture(place.reserve, 0.1) is None
    # Far above 0.1 s: this machine may be busy; far below what would stop a lane from stopping.
    assert time.monotonic() - started < 2
    assert place.asked == []


def test_bad_settings_are_named_with_their_path(rig: Rig) -> None:
    with pytest.raises(ConfigError, match=r"lanes\.line-1\.camera\.colour.*not a known key"):
        make({**rig.settings(), "colour": 1})
    for settings, words in rig.bad_settings():
        with pytest.raises(ConfigError) as caught:
            make({**rig.settings(), **settings})
        assert "lanes.line-1.camera" in str(caught.value)
        assert words in str(caught.value)
