from __future__ import annotations

import ctypes.util
from typing import Any, Dict, List, Tuple

from PIL import Image
from support.cameras.pattern import HEIGHT, WIDTH, number_in, picture
from support.cameras.rig import Rig
from support.cameras.video import MjpegRig

from edge_agent.frame import Pixels

_BAD: List[Tuple[Dict[str, Any], str]] = [
    ({"pipeline": " ! "}, "empty"),
    ({"open_timeout_s": 0}, "open_timeout_s"),
    ({"sync": "perhaps"}, "sync"),
]


def _missing() -> str:
    found = ctypes.util.find_library("gstapp-1.0") is not None
    return "" if found else "GStreamer (gstreamer1.0-plugins-base, gstreamer1.0-plugins-good)"


class PipelineRig(Rig):
    """Numbered files through a pipeline that is not live. GStreamer's RGB rows of this width end with padding."""

    name = "GStreamer"
    frames = 6
    notices_loss = False

    @classmethod
    def missing(cls) -> str:
        return _missing()

    def settings(self) -> Dict[str, Any]:
        files = f"{self.directory}/%02d.png"
        pipeline = f"multifilesrc location={files} caps=image/png,framerate=20/1 ! pngdec"
        return {"type": "gstreamer", "pipeline": pipeline}

    def start(self) -> None:
        for number in range(6):
            Image.fromarray(picture(number)).save(self.directory / f"{number:02d}.png")

    def stop(self) -> None:
        for path in self.directory.glob("*.png"):
            path.unlink()

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        return _BAD

    def check(self, pixels: Pixels) -> int:
        return number_in(pixels, 0)

    def shape(self) -> Tuple[int, int]:
        return HEIGHT, WIDTH


class LivePipelineRig(MjpegRig):
    """A live pipeline from a camera's web server."""

    name = "GStreamer, live"

    @classmethod
    def missing(cls) -> str:
        return _missing()

    def settings(self) -> Dict[str, Any]:
        source = f"souphttpsrc location=http://127.0.0.1:{self.port}/ user-id=operator user-pw=s3cret is-live=true"
        return {"type": "gstreamer", "pipeline": f"{source} ! multipartdemux ! jpegdec", "open_timeout_s": 5}

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        return _BAD
