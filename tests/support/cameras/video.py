from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import av
from PIL import Image
from support.cameras.live import RATE, LiveRig
from support.cameras.mjpeg_server import MjpegServer
from support.cameras.pattern import HEIGHT, NUMBERS, WIDTH, number_in, picture
from support.cameras.rig import Rig

from edge_agent.frame import Pixels

# Debian's own: the one that Debian's bindings of the RTSP server are for.
_DEBIAN_PYTHON = "/usr/bin/python3"
_RTSP_SERVER = Path(__file__).parent / "rtsp_server.py"

_BAD: List[Tuple[Dict[str, Any], str]] = [
    ({"source": ""}, "empty"),
    ({"source": "ftp://host/video"}, "rtsp://"),
    ({"source": "rtsp://user:pass/word@host/"}, "%2F"),
    ({"transport": "multicast"}, "transport"),
    ({"open_timeout_s": 0}, "open_timeout_s"),
    ({"read_timeout_s": 301}, "read_timeout_s"),
    ({"speed": -1}, "speed"),
]


def write_video(path: Path, numbers: "List[int]", *, codec: str = "ffv1", form: str = "bgr0", rate: int = RATE) -> None:
    """A video of these pictures; without loss as it stands."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, form
        for number in numbers:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode(None))


class VideoFileRig(Rig):
    name = "video file"
    frames = 6
    # Who has opened a file keeps it, whatever becomes of its name.
    notices_loss = False

    def settings(self) -> Dict[str, Any]:
        return {"type": "video", "source": str(self.directory / "line.mkv"), "speed": 0}

    def start(self) -> None:
        write_video(self.directory / "line.mkv", list(range(6)))

    def stop(self) -> None:
        path = self.directory / "line.mkv"
        if path.exists():
            path.unlink()

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        return _BAD

    def check(self, pixels: Pixels) -> int:
        return number_in(pixels, 0)

    def shape(self) -> Tuple[int, int]:
        return HEIGHT, WIDTH


class RtspRig(LiveRig):
    """GStreamer's RTSP server in a process of its own: killed it is gone, stopped it hangs."""

    name = "RTSP"
    _process: "Optional[subprocess.Popen[str]]" = None

    @classmethod
    def missing(cls) -> str:
        probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
        found = Path(_DEBIAN_PYTHON).exists() and (
            subprocess.run([_DEBIAN_PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0
        )
        return "" if found else "GStreamer's RTSP server with its bindings (gir1.2-gst-rtsp-server-1.0)"

    def settings(self) -> Dict[str, Any]:
        source = f"rtsp://operator:s3cret@127.0.0.1:{self.port}/line?profile=1"
        return {"type": "video", "source": source, "open_timeout_s": 5, "read_timeout_s": 2}

    def start(self) -> None:
        for number in range(NUMBERS):
            Image.fromarray(picture(number)).save(self.directory / f"{number:02d}.png")
        self._process = subprocess.Popen(
            [_DEBIAN_PYTHON, str(_RTSP_SERVER), str(self.port), str(self.directory), str(RATE)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def silence(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        return _BAD


class MjpegRig(LiveRig):
    """A camera's web server."""

    name = "MJPEG over HTTP"
    _server: Optional[MjpegServer] = None

    def settings(self) -> Dict[str, Any]:
        source = f"http://operator:s3cret@127.0.0.1:{self.port}/video?token=t0ken"
        return {"type": "video", "source": source, "open_timeout_s": 5, "read_timeout_s": 2}

    def start(self) -> None:
        self._server = MjpegServer(self.port, "operator:s3cret")

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def silence(self) -> None:
        assert self._server is not None
        self._server.silent.set()

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        return _BAD
