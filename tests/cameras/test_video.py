"""Video files and streams: what goes beyond the contract of all cameras."""

from __future__ import annotations

import contextlib
import logging
import random
import shlex
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Iterator, List

import av
import numpy as np
import pytest
from support.cameras.driving import capture, capture_all, play, reserve
from support.cameras.live import free_port
from support.cameras.mjpeg_server import MjpegServer, jpeg
from support.cameras.pattern import number_in, picture
from support.cameras.video import RtspRig, write_video
from support.clocks import Steps

from edge_agent.cameras.redact import redacted
from edge_agent.cameras.video import VideoCamera, VideoSettings
from edge_agent.clock import SystemClock
from edge_agent.errors import (
    CameraError,
    CameraNotConnectedError,
    MissingExtraError,
)


@pytest.fixture
def make() -> Iterator[Callable[..., VideoCamera]]:
    made: List[VideoCamera] = []

    def build(source: str, clock: Any = None, **settings: Any) -> VideoCamera:
        camera = VideoCamera(VideoSettings(source=source, **settings), clock or SystemClock())
        made.append(camera)
        return camera

    yield build
    for camera in made:
        camera.close()


@pytest.fixture
def rtsp(tmp_path: Path) -> Iterator[RtspRig]:
    """A running server."""
    if RtspRig.missing():
        pytest.skip(f"not here: {RtspRig.missing()}")
    rig = RtspRig(tmp_path)
    rig.start()
    yield rig
    rig.stop()


class Hanging:
    """A server that takes connections, answers the first of them with `answer`, and says nothing more."""

    def __init__(self, answer: bytes = b"") -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: List[socket.socket] = []
        self._answer = answer
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                if self._answer:
                    connection.sendall(self._answer)
        except OSError:
            """Closed."""

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    server = Hanging()
    yield server
    server.close()


@pytest.mark.parametrize("scheme", ["rtsp", "http", "https"])
def test_a_server_that_never_answers_is_not_connected_in_the_time_that_is_set(
    make: Callable[..., VideoCamera], hanging: Hanging, scheme: str
) -> None:
    camera = make(f"{scheme}://u:s3cret@127.0.0.1:{hanging.port}/x", open_timeout_s=0.3)
    started = time.monotonic()
    with pytest.raises(CameraNotConnectedError, match=r"did not answer within 0\.3 s"):
        camera.open()
    assert time.monotonic() - started < 10


def test_a_stream_that_falls_silent_is_not_connected_in_the_time_that_is_set(
    make: Callable[..., VideoCamera], rtsp: RtspRig
) -> None:
    camera = make(rtsp.settings()["source"], read_timeout_s=0.5)
    camera.open()
    capture(camera)
    rtsp.silence()
    with pytest.raises(CameraNotConnectedError, match=r"for 0\.5 s"):
        capture_all(camera)


def test_the_next_frame_of_a_stream_is_decoded_before_it_is_asked_for_and_has_that_time(
    make: Callable[..., VideoCamera], rtsp: RtspRig
) -> None:
    camera = make(rtsp.settings()["source"])
    camera.open()
    first = capture(camera)
    assert camera._reading is not None
    camera._reading.result(20)
    asked_ns = time.monotonic_ns()
    assert first.captured_ns < capture(camera).captured_ns < asked_ns


def test_closing_does_not_wait_for_a_read_that_hangs(make: Callable[..., VideoCamera], rtsp: RtspRig) -> None:
    camera = make(rtsp.settings()["source"], read_timeout_s=3)
    camera.open()
    capture(camera)
    rtsp.silence()
    while camera.capture(reserve, 0.1) is not None:
        """What was on its way."""
    started = time.monotonic()
    camera.close()
    assert time.monotonic() - started < 1


SECRETS = ("s3cret", "t0ken", "operator")


def _assert_hidden(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text


def test_user_password_and_query_are_shown_nowhere(
    make: Callable[..., VideoCamera],
    rtsp: RtspRig,
    hanging: Hanging,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    source = rtsp.settings()["source"]
    with contextlib.closing(MjpegServer(free_port(), "somebody:else")) as web:
        for bad in (
            source.replace("s3cret", "s3cret-wrong"),
            source.replace("/line", "/absent"),
            f"http://operator:s3cret@127.0.0.1:{web.port}/?token=t0ken",
            f"http://operator:s3cret@127.0.0.1:{free_port()}/?token=t0ken",
            f"rtsp://operator:s3cret@127.0.0.1:{hanging.port}/?token=t0ken",
        ):
            with pytest.raises(CameraNotConnectedError) as caught:
                make(bad, open_timeout_s=1).open()
            _assert_hidden("".join(traceback.format_exception(None, caught.value, caught.value.__traceback__)))
            _assert_hidden(repr(caught.value.__cause__))
            assert "127.0.0.1" in str(caught.value)
    good = make(source)
    good.open()
    assert capture(good).source == f"rtsp://127.0.0.1:{rtsp.port}/line?..."
    _assert_hidden(repr(VideoSettings(source=source)))
    _assert_hidden(caplog.text)
    written = capfd.readouterr()
    _assert_hidden(written.out + written.err)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://u:p@h:554/a/b", "rtsp://h:554/a/b"),
        ("rtsp://u:p@ss@h/a?x=1&pwd=2#3", "rtsp://h/a?..."),
        ("cannot open 'http://u:p@h/a' at all", "cannot open 'http://h/a' at all"),
        ("http://h/video", "http://h/video"),
        ("/videos/line@2.mkv?", "/videos/line@2.mkv?"),
    ],
)
def test_what_is_shown_of_an_address(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_https_trusts_only_who_is_vouched_for(make: Callable[..., VideoCamera], tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        shlex.split(
            f"openssl req -x509 -newkey rsa:2048 -nodes -keyout '{key}' -out '{certificate}' -days 2"
            " -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        ),
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with contextlib.closing(MjpegServer(free_port(), "operator:s3cret", tls=context)) as web:
        source = f"https://operator:s3cret@127.0.0.1:{web.port}/"
        with pytest.raises(CameraNotConnectedError, match="ca_file"):
            make(source).open()
        camera = make(source, ca_file=str(certificate))
        camera.open()
        number_in(capture(camera).pixels, 12)


def test_a_file_leads_nowhere_else(make: Callable[..., VideoCamera], tmp_path: Path, hanging: Hanging) -> None:
    """A playlist could make this machine fetch from any address, with the rights of the inspector."""
    playlist = tmp_path / "line.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{hanging.port}/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(CameraError):
        play(make(str(playlist)))
    assert hanging.connections == []


def test_subsampled_colour_of_odd_sizes_comes_out_right(make: Callable[..., VideoCamera], tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", [0, 5, 11], codec="mjpeg", form="yuvj420p")
    camera = make(str(tmp_path / "a.avi"), speed=0)
    camera.open()
    assert [number_in(capture(camera).pixels, 20) for _ in range(3)] == [0, 5, 11]


def test_a_damaged_frame_costs_one_error_and_the_others_come(make: Callable[..., VideoCamera], tmp_path: Path) -> None:
    path = tmp_path / "a.mjpeg"
    images = [jpeg(number) for number in range(6)]
    images[2] = images[2][: len(images[2]) // 2]
    path.write_bytes(b"".join(images))
    camera = make(str(path), speed=0)
    camera.open()
    frames, errors = capture_all(camera)
    assert [str(error) for error in errors] == [f"{path}: frame 2: is damaged. Check the way to the camera."]
    assert [number_in(frame.pixels, 12) for frame in frames] == [0, 1, 3, 4, 5]


def test_mutated_files_raise_nothing_but_our_errors(make: Callable[..., VideoCamera], tmp_path: Path) -> None:
    dice = random.Random(11)
    write_video(tmp_path / "a.avi", list(range(4)), codec="mjpeg", form="yuvj420p")
    whole = (tmp_path / "a.avi").read_bytes()
    for number in range(60):
        content = bytearray(whole[: dice.randint(0, len(whole))] if number % 3 == 0 else whole)
        for _ in range(dice.randint(1, 40)):
            if content:
                content[dice.randrange(len(content))] = dice.randrange(256)
        (tmp_path / "b.avi").write_bytes(content)
        camera = make(str(tmp_path / "b.avi"), speed=0)
        # The end of the input, or an error of the camera; anything else fails this test.
        with contextlib.suppress(CameraError):
            play(camera)
        camera.close()


def test_what_is_no_video_is_named(make: Callable[..., VideoCamera], tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(CameraError, match=r"text\.mp4: is no video"):
        make(str(tmp_path / "text.mp4")).open()
    with pytest.raises(CameraNotConnectedError, match="directory"):
        make(str(tmp_path)).open()
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(CameraError, match="no pictures"):
        make(str(tmp_path / "sound.mkv")).open()


def test_a_size_that_no_agent_takes_is_an_error_of_the_camera(make: Callable[..., VideoCamera], tmp_path: Path) -> None:
    with av.open(str(tmp_path / "small.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 62, 64, "bgr0"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 62, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(CameraError, match="62 x 64"):
        play(make(str(tmp_path / "small.mkv")))


@pytest.mark.parametrize(("speed", "period"), [(1.0, 0.05), (4.0, 0.0125), (0.0, 0.0)])
def test_a_file_plays_at_its_own_speed_or_another(
    make: Callable[..., VideoCamera], tmp_path: Path, speed: float, period: float
) -> None:
    write_video(tmp_path / "a.mkv", [0, 1, 2, 3], rate=20)
    clock = Steps()
    camera = make(str(tmp_path / "a.mkv"), clock=clock, speed=speed)
    camera.open()
    times = [capture(camera).captured_ns / 1e9 for _ in range(4)]
    assert np.diff(times) == pytest.approx([period] * 3, abs=0.002)


def test_a_title_that_is_no_text_does_not_matter(make: Callable[..., VideoCamera], tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        container.metadata["title"] = "a title of the line"
        stream = container.add_stream("mjpeg", rate=5)
        stream.width, stream.height, stream.pix_fmt = 98, 90, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(3), format="rgb24")))
        container.mux(stream.encode(None))
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content.replace(b"a title", b"\xff\xfe\xc0\xc1abc"))
    camera = make(str(tmp_path / "a.mp4"))
    camera.open()
    assert number_in(capture(camera).pixels, 24) == 3


def test_frames_of_a_file_say_their_second_in_it(make: Callable[..., VideoCamera], tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", [0, 1], rate=20)
    camera = make(str(tmp_path / "a.mkv"), speed=0)
    camera.open()
    assert [capture(camera).source for _ in range(2)] == [f"{tmp_path}/a.mkv@0.000s", f"{tmp_path}/a.mkv@0.050s"]


def test_without_pyav_the_extra_is_named(make: Callable[..., VideoCamera], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"edge-agent\[video\]"):
        make("/videos/a.mkv").open()
