from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple
from unittest import mock

import cv2
from PIL import Image
from support.cameras.live import RATE, LiveRig
from support.cameras.pattern import HEIGHT, NUMBERS, WIDTH, picture

from edge_agent.cameras import v4l2


class FilesAsDevice:
    """OpenCV's own capture, on numbered files in place of a device, which no machine of ours has.

    What a driver would do is done here: pictures come at their rate, round and round, until it is unplugged; settings
    are taken as `refused` and `given` say.
    """

    def __init__(self, directory: Path) -> None:
        self._files = f"{directory}/%02d.png"
        self._capture = cv2.VideoCapture(self._files, cv2.CAP_IMAGES)
        self.properties: Dict[int, float] = {
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter_fourcc(*"MJPG")),
            cv2.CAP_PROP_FRAME_WIDTH: float(WIDTH),
            cv2.CAP_PROP_FRAME_HEIGHT: float(HEIGHT),
            cv2.CAP_PROP_FPS: 29.97,
        }
        self.refused: List[int] = []
        self.asked: List[Tuple[int, float]] = []
        self.unplugged = threading.Event()
        self.silent = threading.Event()
        self.released = threading.Event()
        self.is_grey = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return bool(self._capture.isOpened())

    def set(self, name: int, value: float) -> bool:
        self.asked.append((name, value))
        return name not in self.refused

    def get(self, name: int) -> float:
        return self.properties.get(name, 0.0)

    def read(self) -> Tuple[bool, Any]:
        while self.silent.is_set():
            if self.released.wait(0.02):
                return False, None
        if self.unplugged.wait(1 / RATE):
            return False, None
        came, image = self._capture.read()
        if not came:
            self._capture = cv2.VideoCapture(self._files, cv2.CAP_IMAGES)
            came, image = self._capture.read()
        return came, cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if self.is_grey else image

    def release(self) -> None:
        self.released.set()
        self._capture.release()


class V4l2Rig(LiveRig):
    name = "V4L2"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.device: Optional[FilesAsDevice] = None
        self.refused: List[int] = []
        self._patch: Any = None

    def settings(self) -> Dict[str, Any]:
        device = str(self.directory / "video0")
        return {"type": "v4l2", "device": device, "format": "MJPG", "width": WIDTH, "height": HEIGHT, "rate": 30}

    def start(self) -> None:
        for number in range(NUMBERS):
            Image.fromarray(picture(number)).save(self.directory / f"{number:02d}.png")
        self._patch = mock.patch.object(v4l2, "open_device", self._open)
        self._patch.start()

    def stop(self) -> None:
        if self._patch is not None:
            self._patch.stop()
            self._patch = None
        if self.device is not None:
            self.device.silent.clear()
            self.device.unplugged.set()

    def silence(self) -> None:
        assert self.device is not None
        self.device.silent.set()

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        return [
            ({"device": "video0"}, "path"),
            ({"format": "JPEG2"}, "four letters"),
            ({"width": 640, "height": 0}, "go together"),
            ({"width": 63, "height": 64}, "width"),
            ({"rate": -1}, "rate"),
            ({"controls": {"shutter": 1}}, "shutter"),
            ({"read_timeout_s": 0}, "read_timeout_s"),
        ]

    def _open(self, _path: str) -> FilesAsDevice:
        self.device = FilesAsDevice(self.directory)
        self.device.refused = self.refused
        return self.device
