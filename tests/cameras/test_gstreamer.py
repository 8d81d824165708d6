"""GStreamer pipelines: what goes beyond the contract of all cameras."""

from __future__ import annotations

import ctypes
import resource
import time
from typing import Any, Callable, Iterator, List

import numpy as np
import pytest
from support.cameras.driving import capture, play
from support.cameras.gstreamer import PipelineRig

from edge_agent.cameras.gstreamer import GstreamerCamera, GstreamerSettings
from edge_agent.cameras.gstreamer.library import Gstreamer
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError, CameraNotConnectedError

pytestmark = pytest.mark.skipif(bool(PipelineRig.missing()), reason=f"not here: {PipelineRig.missing()}")


@pytest.fixture
def make() -> Iterator[Callable[..., GstreamerCamera]]:
    made: List[GstreamerCamera] = []

    def build(pipeline: str, **settings: Any) -> GstreamerCamera:
        camera = GstreamerCamera(GstreamerSettings(pipeline=pipeline, **settings), SystemClock())
        made.append(camera)
        return camera

    yield build
    for camera in made:
        camera.close()


def test_a_test_source_comes_out_in_its_colour_at_any_width(make: Callable[..., GstreamerCamera]) -> None:
    for width in (64, 65, 66, 67, 322, 4096):
        caps = f"video/x-raw,width={width},height=66,framerate=30/1"
        frames, _ = play(make(f"videotestsrc pattern=solid-color foreground-color=0xff204060 num-buffers=2 ! {caps}"))
        assert [frame.pixels.shape for frame in frames] == [(66, width, 3)] * 2
        for frame in frames:
            assert (frame.pixels == (0x20, 0x40, 0x60)).all()


@pytest.mark.parametrize("form", ["I420", "NV12", "BGRx", "GRAY8", "YUY2", "RGB16"])
def test_what_decoders_and_cameras_give_becomes_rgb(make: Callable[..., GstreamerCamera], form: str) -> None:
    caps = f"video/x-raw,format={form},width=98,height=90"
    frames, _ = play(make(f"videotestsrc pattern=solid-color foreground-color=0xff808080 num-buffers=1 ! {caps}"))
    assert np.abs(frames[0].pixels.astype(int) - 0x80).max() <= 8


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        ("nosuchelement ! videoconvert", 'no element "nosuchelement"'),
        ("videotestsrc nosuch=1", 'no property "nosuch"'),
        ("videotestsrc ! ! fakesink", "syntax error"),
        ("videotestsrc ! audio/x-raw", "could not link"),
        ("audiotestsrc", "could not link"),
    ],
)
def test_a_description_that_makes_no_pipeline_is_named(
    make: Callable[..., GstreamerCamera], pipeline: str, reason: str
) -> None:
    with pytest.raises(CameraError, match=reason) as caught:
        make(pipeline).open()
    assert not isinstance(caught.value, CameraNotConnectedError)
    assert str(caught.value).startswith(f"gstreamer ({pipeline.split(maxsplit=1)[0]})")


def test_an_element_that_fails_is_named_and_its_address_is_hidden(make: Callable[..., GstreamerCamera]) -> None:
    source = "souphttpsrc name=door-camera location=http://operator:s3cret@127.0.0.1:1/?token=t0ken"
    camera = make(f"{source} ! jpegdec")
    with pytest.raises(CameraNotConnectedError, match="door-camera: ") as caught:
        play(camera)
    assert "s3cret" not in str(caught.value)
    assert "t0ken" not in str(caught.value)
    assert "s3cret" not in repr(GstreamerSettings(pipeline=source))


def test_an_element_that_fails_while_frames_come_is_named(make: Callable[..., GstreamerCamera]) -> None:
    camera = make("videotestsrc is-live=true ! video/x-raw,width=98,height=90 ! identity name=cable error-after=3")
    with pytest.raises(CameraNotConnectedError, match="cable: "):
        play(camera)


def test_the_end_of_a_live_pipeline_is_a_lost_connection(make: Callable[..., GstreamerCamera]) -> None:
    camera = make("videotestsrc is-live=true num-buffers=2 ! video/x-raw,width=98,height=90,framerate=50/1")
    with pytest.raises(CameraNotConnectedError, match="ended its stream"):
        play(camera)
    assert camera.free_running


def test_frames_of_a_file_wait_and_are_not_free_running(make: Callable[..., GstreamerCamera]) -> None:
    camera = make("videotestsrc num-buffers=3 ! video/x-raw,width=98,height=90")
    assert len(play(camera).frames) == 3
    assert not camera.free_running


def test_a_pipeline_that_never_starts_is_not_connected_in_its_time(make: Callable[..., GstreamerCamera]) -> None:
    # A source that nobody feeds.
    camera = make("appsrc caps=video/x-raw,format=RGB,width=98,height=90,framerate=10/1", open_timeout_s=0.3)
    started = time.monotonic()
    with pytest.raises(CameraNotConnectedError, match=r"did not start within 0\.3 s"):
        camera.open()
    assert time.monotonic() - started < 10


def test_a_size_that_no_agent_takes_is_an_error_of_the_camera(make: Callable[..., GstreamerCamera]) -> None:
    with pytest.raises(CameraError, match=r"32 x 48 pixels.*videoscale"):
        play(make("videotestsrc num-buffers=1 ! video/x-raw,width=32,height=48"))


def test_age_of_a_frame_that_waited_is_in_its_time(make: Callable[..., GstreamerCamera]) -> None:
    """What an element holds back for half a second was captured half a second ago."""
    caps = "video/x-raw,width=98,height=90,framerate=20/1"
    camera = make(f"videotestsrc is-live=true ! {caps} ! queue min-threshold-time=500000000 ! identity")
    camera.open()
    capture(camera)
    clock = SystemClock()
    ages = [(clock.monotonic_ns() - capture(camera).captured_ns) / 1e9 for _ in range(5)]
    assert max(ages) > 0.4


def test_many_frames_and_openings_leave_no_memory_behind(make: Callable[..., GstreamerCamera]) -> None:
    pipeline = "videotestsrc num-buffers=40 ! video/x-raw,width=640,height=480"
    camera = make(pipeline)
    play(camera)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(8):
        camera.close()
        assert len(play(camera).frames) == 40
    # 320 frames of 0.9 MB: 288 MB, had they been kept.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_where_gstreamer_is_not_installed_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(CameraError, match="apt-get install gstreamer1"):
        Gstreamer()
