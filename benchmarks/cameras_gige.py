"""A GigE Vision camera at its full rate: the fake one of Aravis on loopback, 1920 x 1080, Mono8.

The camera sends as fast as it can. What the product takes out of it, decoded into slots of shared memory, is set
against the same stream whose buffers are only taken and given back, in turns in one run:

    frames_per_s  decoded into slots
    lost          images of those turns that came in part or not at all
    ratio         frames_per_s over that of the bare stream
    gigabit       frames_per_s and lost at the rate that a gigabit link carries
    plain_socket  the same two without the packet socket (CAP_NET_RAW), at the highest of a few rates that loses nothing
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from edge_agent.cameras.genicam import GenicamCamera, GenicamSettings
from edge_agent.cameras.genicam.stream import Stream
from edge_agent.clock import SystemClock
from edge_agent.config import convert
from edge_agent.errors import ImageError
from edge_agent.shared_memory import Ring

_FAKE = "arv-fake-gv-camera-0.8"
_ADDRESS, _PORT = "127.0.0.1", 3956
_WIDTH, _HEIGHT = 1920, 1080

# More than it can do: the camera is its own limit.
_FULL_RATE = 1000.0
# 1 Gbit/s of Ethernet carries 59.7 images a second of this size in packets of this size.
_GIGABIT_RATE = 59.0
_RATES = (120.0, 100.0, 80.0, 60.0, 40.0, 25.0)

# Jumbo packets, as cameras of this rate send them.
_PACKET_SIZE = 8164
_FRAMES, _ROUNDS, _WARM_UP = 300, 3, 10

# A torn image holds back those after it for 200 ms.
_BUFFERS = 50


def settings() -> Dict[str, Any]:
    return {
        "size": [_WIDTH, _HEIGHT],
        "pixel_format": "Mono8",
        "packet_size": _PACKET_SIZE,
        "buffers": _BUFFERS,
        "packet_socket": _has_net_raw(),
        "rmem_max": int(_read("/proc/sys/net/core/rmem_max")),
    }


def measure(quick: bool) -> Dict[str, Any]:  # noqa: FBT001 - the form of every part
    frames = _FRAMES // 5 if quick else _FRAMES
    rounds = 1 if quick else _ROUNDS
    with _fake_camera():
        taken: List[float] = []
        bare: List[float] = []
        lost = 0
        for _ in range(rounds):
            rate, missing = _run(frames, _FULL_RATE, packet_socket=True)
            taken.append(rate)
            lost += missing
            bare.append(_bare(frames))
        gigabit, missing = _run(frames, _GIGABIT_RATE, packet_socket=True)
        plain = _plain(frames)
    return {
        "frames_per_s": round(statistics.mean(taken), 1),
        "lost": lost,
        "ratio": round(statistics.mean(taken) / statistics.mean(bare), 3),
        "bare_frames_per_s": round(statistics.mean(bare), 1),
        "gigabit": {"frames_per_s": round(gigabit, 1), "lost": missing},
        "plain_socket": plain,
    }


def _camera(rate: float, *, packet_socket: bool) -> GenicamCamera:
    values: Dict[str, Any] = {
        "device": _ADDRESS,
        "pixel_format": "Mono8",
        "region": {"width": _WIDTH, "height": _HEIGHT},
        "frame_rate": rate,
        "buffers": _BUFFERS,
        "network": {"packet_size": _PACKET_SIZE, "packet_socket": packet_socket},
    }
    return GenicamCamera(convert(values, GenicamSettings, "benchmark"), SystemClock())


def _run(frames: int, rate: float, *, packet_socket: bool) -> Tuple[float, int]:
    """Frames/s into slots, and images lost."""
    camera = _camera(rate, packet_socket=packet_socket)
    ring = Ring(3)
    camera.open()
    try:
        for _ in range(_WARM_UP):
            _take(camera, ring)
        before = _lost(camera)
        started = time.perf_counter()
        for _ in range(frames):
            _take(camera, ring)
        return frames / (time.perf_counter() - started), _lost(camera) - before
    finally:
        camera.close()
        ring.close()


def _take(camera: GenicamCamera, ring: Ring) -> None:
    """The next whole frame into a slot."""
    slot = ring.acquire()
    if slot is None:
        raise SystemExit("the ring was closed")
    try:
        captured = None
        while captured is None:
            try:
                captured = camera.capture(slot.reserve, 1.0)
            except ImageError:
                continue  # counted by the camera
    finally:
        slot.release()


def _lost(camera: GenicamCamera) -> int:
    counters = camera.counters()
    return counters["frames_missed"] + counters["frames_incomplete"]


def _bare(frames: int) -> float:
    """Frames/s of the stream alone: whole buffers taken and given back."""
    camera = _camera(_FULL_RATE, packet_socket=True)
    camera.open()
    try:
        stream = camera._stream  # noqa: SLF001 - the same stream, without what the camera does with it
        if not isinstance(stream, Stream):
            raise SystemExit("the camera has no stream")
        _whole(stream, _WARM_UP)
        started = time.perf_counter()
        _whole(stream, frames)
        return frames / (time.perf_counter() - started)
    finally:
        camera.close()


def _whole(stream: Stream, frames: int) -> None:
    while frames:
        arrived = stream.pop(1.0)
        if arrived is not None:
            frames -= not arrived.fault
            stream.give_back(arrived.buffer)


def _plain(frames: int) -> Dict[str, Any]:
    """The highest rate at which an ordinary socket loses nothing; what it lost at the lowest, if it always does."""
    rate, lost = 0.0, 0
    for wanted in _RATES:
        rate, lost = _run(frames, wanted, packet_socket=False)
        if not lost:
            break
    return {"frames_per_s": round(rate, 1), "lost": lost}


@contextmanager
def _fake_camera() -> Iterator[None]:
    program = shutil.which(_FAKE)
    if program is None:
        raise SystemExit(f"{_FAKE} is not installed. Install it with: apt-get install aravis-tools")
    if not _is_free():
        raise SystemExit(f"{_ADDRESS}:{_PORT} is taken: another simulated camera runs on this machine. Stop it.")
    process = subprocess.Popen([program, "-i", "lo"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while _is_free():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{_FAKE} did not start")
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _is_free() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((_ADDRESS, _PORT))
        except OSError:
            return False
    return True


def _has_net_raw() -> bool:
    """Whether this process may have packet sockets (capabilities(7): CAP_NET_RAW is bit 13)."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> 13 & 1)
    return False


def _read(path: str) -> str:
    return Path(path).read_text(encoding="ascii")
