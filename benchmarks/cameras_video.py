"""H.264 at 1080p, from a file and by RTSP over TCP on loopback, against the bare decoder on the same source.

The source is ahead of the decoder all the time: the file, and an RTSP server (GStreamer's, in a process of its own) that
sends as fast as its client takes. Three ways take it in turns, and the ratios are medians of those of each round:

    frames_per_s   by the product, as RGB in slots of shared memory
    ratio          over the bare decoder whose frames become RGB arrays
    ratio_decode   over the bare decoder alone, whose frames nobody looks at

The bare decoder is PyAV's loop. It may use all cores on a file, and on a stream it gives each frame at once, as the
product has it.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import av
import numpy as np

from benchmarks.workload import SIZES, render_frames
from edge_agent.cameras.video import VideoCamera, VideoSettings
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraNotConnectedError, EndOfInputError
from edge_agent.shared_memory import Ring

_DEBIAN_PYTHON = "/usr/bin/python3"
_SERVER = Path(__file__).with_name("rtsp_file.py")
_FRAMES, _ROUNDS = 200, 5

# Frames before the clock starts: what gathered while the stream was looked into comes at once.
_WARM_UP = 40

# Of its time stamps, a second: more than any decoder here gives at this size.
_RATE = 2000

#: What a camera of this size sends at 25 frames/s and 8 Mbit/s.
_FRAME_BYTES = 40_000


def settings() -> Dict[str, Any]:
    return {"size": list(SIZES["1080p"]), "codec": "h264", "frame_bytes": _FRAME_BYTES, "rounds": _ROUNDS}


def measure(quick: bool) -> Dict[str, Any]:  # noqa: FBT001 - the form of every part
    frames = _WARM_UP + (_FRAMES // 5 if quick else _FRAMES)
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        path = Path(scratch) / "line.mkv"
        _write(path, frames)
        rounds = 1 if quick else _ROUNDS
        figures = {"file": _compare(str(path), "AUTO", rounds)}
        with _served(path) as address:
            figures["rtsp"] = _compare(address, "SLICE", rounds)
    return figures


def _compare(source: str, thread_type: str, rounds: int) -> Dict[str, float]:
    ways: Dict[str, Callable[[], Iterator[None]]] = {
        "decode": lambda: _bare(source, thread_type, rgb=False),
        "rgb": lambda: _bare(source, thread_type, rgb=True),
        "ours": lambda: _ours(source),
    }
    rates: Dict[str, List[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, frames in ways.items():
            rates[way].append(_rate(frames()))
    ratios = {way: statistics.median(ours / bare for ours, bare in zip(rates["ours"], rates[way])) for way in ways}
    return {
        "frames_per_s": round(statistics.median(rates["ours"]), 1),
        "ratio": round(ratios["rgb"], 3),
        "ratio_decode": round(ratios["decode"], 3),
    }


def _rate(frames: Iterator[None]) -> float:
    """Frames a second, from the end of the warm-up to the last frame; the wait for the end of a stream is left out."""
    times = [time.perf_counter() for _ in frames][_WARM_UP // 2 :]
    return (len(times) - 1) / (times[-1] - times[0])


def _bare(source: str, thread_type: str, *, rgb: bool) -> Iterator[None]:
    options = {"rtsp_transport": "tcp"} if "://" in source else {}
    with av.open(source, options=options) as container:
        stream = container.streams.video[0]
        stream.thread_type = thread_type
        for frame in container.decode(stream):
            if rgb:
                frame.to_ndarray(format="rgb24")
            yield


def _ours(source: str) -> Iterator[None]:
    camera = VideoCamera(VideoSettings(source=source, speed=0.0), SystemClock())
    ring = Ring(3)
    camera.open()
    try:
        while True:
            slot = ring.acquire()
            if slot is None:
                raise SystemExit("the ring was closed")
            try:
                captured = camera.capture(slot.reserve, 1.0)
            finally:
                slot.release()
            if captured is not None:
                yield
    except (EndOfInputError, CameraNotConnectedError):
        return
    finally:
        camera.close()
        ring.close()


def _write(path: Path, frames: int) -> None:
    """A part that moves under the camera's noise."""
    random = np.random.default_rng(1)
    picture = render_frames(SIZES["1080p"])[1].astype(np.int16)
    noise = random.integers(-8, 8, picture.shape, dtype=np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE)
        stream.width, stream.height = SIZES["1080p"]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = _FRAME_BYTES * 8 * _RATE
        # One slice a frame and no frame that refers to a later one, as cameras have it.
        stream.options = {"preset": "veryfast", "g": "25", "bf": "0", "x264-params": "sliced-threads=0"}
        for number in range(frames):
            moved = np.roll(picture, 4 * number, axis=1) + np.roll(noise, 37 * number, axis=0)
            frame = av.VideoFrame.from_ndarray(np.clip(moved, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@contextmanager
def _served(path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [_DEBIAN_PYTHON, str(_SERVER), str(port), str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit(
                "GStreamer's RTSP server did not start. Install it with: apt-get install python3-gi "
                "gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good"
            )
        yield f"rtsp://127.0.0.1:{port}/line"
    finally:
        process.kill()
        process.communicate()
