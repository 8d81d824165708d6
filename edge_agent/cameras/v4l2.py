"""V4L2 devices (USB cameras, capture cards, CSI cameras with a kernel driver) as cameras, through OpenCV."""

from __future__ import annotations

import os
import stat
from concurrent.futures import Future
from typing import Any, Dict, NamedTuple, Optional

import msgspec

from edge_agent.cameras.base import Captured, Reserve, size_problem
from edge_agent.cameras.worker import Resource, is_done
from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.errors import CameraError, CameraNotConnectedError, MissingExtraError
from edge_agent.frame import MAX_SIDE, MIN_SIDE, Pixels

#: Names of controls, and what OpenCV calls them after CAP_PROP_.
CONTROLS: Dict[str, str] = {
    "auto_exposure": "AUTO_EXPOSURE",
    "exposure": "EXPOSURE",
    "gain": "GAIN",
    "brightness": "BRIGHTNESS",
    "contrast": "CONTRAST",
    "saturation": "SATURATION",
    "sharpness": "SHARPNESS",
    "gamma": "GAMMA",
    "auto_white_balance": "AUTO_WB",
    "white_balance_temperature": "WB_TEMPERATURE",
    "auto_focus": "AUTOFOCUS",
    "focus": "FOCUS",
    "zoom": "ZOOM",
}

# A rate is what the device can do next to what was asked: 29.97 for 30 is right.
_RATE_TOLERANCE = 0.05

# A frame that claims to be older has a time stamp of another clock.
_MAX_AGE_NS = 10_000_000_000


class V4l2Settings(Settings, frozen=True, tag_field="type", tag="v4l2"):
    """A device.

    Attributes:
        device: /dev/videoN, or better a name in /dev/v4l/by-id, which stays when devices change places.
        format: its four letters, such as MJPG or YUYV; empty: as the device has it.
        width, height: pixels; 0: as the device has it.
        rate: frames a second; 0: as the device has it.
        controls: of the device, by name, set before the first frame.
        open_timeout_s: a device that has not opened after so many seconds is not connected.
        read_timeout_s: a device that gave no frame for so many seconds is not connected any more.
    """

    device: str
    format: str = ""
    width: int = 0
    height: int = 0
    rate: float = 0.0
    controls: Dict[str, float] = msgspec.field(default_factory=dict)
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if not self.device.startswith("/"):
            raise ValueError("`device` must be a path, such as /dev/video0")
        if self.format and not (len(self.format) == 4 and self.format.isascii()):
            raise ValueError("`format` must be four letters, such as MJPG")
        if bool(self.width) != bool(self.height):
            raise ValueError("`width` and `height` go together")
        if self.width and not (MIN_SIDE <= self.width <= MAX_SIDE and MIN_SIDE <= self.height <= MAX_SIDE):
            raise ValueError(f"`width` and `height` must be {MIN_SIDE} to {MAX_SIDE}")
        if not 0 <= self.rate <= 1000:
            raise ValueError("`rate` must be 0 to 1000")
        unknown = sorted(self.controls.keys() - CONTROLS.keys())
        if unknown:
            raise ValueError(f"`controls` has no {unknown[0]}; there are {', '.join(CONTROLS)}")
        if not (0 < self.open_timeout_s <= 300 and 0 < self.read_timeout_s <= 300):
            raise ValueError("`open_timeout_s` and `read_timeout_s` must be above 0 and at most 300")


class _Read(NamedTuple):
    """A picture, BGR (height, width, 3) or grey (height, width), and its times in nanoseconds."""

    picture: Pixels
    wall_ns: int
    monotonic_ns: int


class V4l2Camera:
    """OpenCV's calls block for up to 10 s, so a thread of their own makes them. Used by one thread at a time."""

    free_running = True

    def __init__(self, settings: V4l2Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._resource: Resource[_Device] = Resource(settings.device, lambda: _Device(settings, clock), _Device.close)
        self._device: Optional[_Device] = None
        self._reading: Optional[Future[_Read]] = None
        self._asked_ns = 0

    def open(self) -> None:
        self.close()
        self._device = self._resource.open(self._settings.open_timeout_s)

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        name = self._settings.device
        if self._device is None:
            raise CameraNotConnectedError(name, "is not open")
        if self._reading is None:
            self._asked_ns = self._clock.monotonic_ns()
            self._reading = self._resource.begin(_Device.read)
        if not is_done(self._reading, timeout):
            if self._clock.monotonic_ns() - self._asked_ns > self._settings.read_timeout_s * 1e9:
                raise CameraNotConnectedError(name, f"gave no frame for {self._settings.read_timeout_s:g} s")
            return None
        reading, self._reading = self._reading, None
        read = reading.result()
        return Captured(name, read.wall_ns, read.monotonic_ns, self._device.place(read.picture, reserve))

    def close(self) -> None:
        self._reading = self._device = None
        self._resource.close()


def open_device(path: str) -> Any:
    """OpenCV's capture of a device; it may have failed to open.

    Raises:
        CameraNotConnectedError: there is no such device, or it may not be used.
        MissingExtraError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("cv2", "v4l2") from error
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - the form of a device's name is the kernel's
    except OSError as error:
        raise CameraNotConnectedError(path, f"is not there ({error.strerror})", "Plug it in.") from error
    if not stat.S_ISCHR(mode):
        raise CameraError(path, "is no device", "Give a path such as /dev/video0.")
    if not os.access(path, os.R_OK | os.W_OK):
        raise CameraNotConnectedError(path, "may not be used", "Put the user into the group `video`.")
    return cv2.VideoCapture(path, cv2.CAP_V4L2)


class _Device:
    """An opened device: OpenCV's side of the camera."""

    def __init__(self, settings: V4l2Settings, clock: Clock) -> None:
        self._name = settings.device
        self._clock = clock
        self._capture = open_device(settings.device)
        import cv2

        self._cv2: Any = cv2
        try:
            if not self._capture.isOpened():
                raise CameraNotConnectedError(
                    self._name, "cannot be opened", "Another program may use it, or it takes no pictures."
                )
            self._set_up(settings)
        except CameraError:
            self.close()
            raise

    def read(self) -> _Read:
        """The next frame.

        Raises:
            CameraNotConnectedError: the device gives none.
        """
        try:
            came, picture = self._capture.read()
        except self._cv2.error as error:
            raise CameraNotConnectedError(self._name, f"cannot be read ({' '.join(str(error).split())})") from error
        if not came:
            raise CameraNotConnectedError(self._name, "gives no frames", "Check its cable.")
        now_ns = self._clock.monotonic_ns()
        # The driver's time stamp, in milliseconds of the same clock where the driver keeps to the kernel's rules.
        age_ns = now_ns - int(self._capture.get(self._cv2.CAP_PROP_POS_MSEC) * 1e6)
        age_ns = age_ns if 0 <= age_ns < _MAX_AGE_NS else 0
        return _Read(picture, self._clock.wall_ns() - age_ns, now_ns - age_ns)

    def place(self, picture: Pixels, reserve: Reserve) -> Pixels:
        """Put a picture that was read, as RGB888, into what `reserve` gives."""
        height, width = picture.shape[:2]
        problem = size_problem(width, height)
        if problem:
            raise CameraError(self._name, problem, "Set `width` and `height`.")
        pixels = reserve(height, width)
        conversion = self._cv2.COLOR_BGR2RGB if picture.ndim == 3 else self._cv2.COLOR_GRAY2RGB
        self._cv2.cvtColor(picture, conversion, dst=pixels)
        return pixels

    def close(self) -> None:
        self._capture.release()

    def _set_up(self, settings: V4l2Settings) -> None:
        # The format first: sizes and rates depend on it.
        if settings.format:
            self._capture.set(self._cv2.CAP_PROP_FOURCC, self._cv2.VideoWriter_fourcc(*settings.format))
        if settings.width:
            self._capture.set(self._cv2.CAP_PROP_FRAME_WIDTH, settings.width)
            self._capture.set(self._cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
        if settings.rate:
            self._capture.set(self._cv2.CAP_PROP_FPS, settings.rate)
        for name, value in settings.controls.items():
            if not self._capture.set(getattr(self._cv2, f"CAP_PROP_{CONTROLS[name]}"), value):
                raise CameraError(self._name, f"does not take {value:g} for {name}", "Correct `controls`.")
        self._check(settings)

    def _check(self, settings: V4l2Settings) -> None:
        """A device takes what comes next to what was asked for, and says nothing."""
        letters = (int(self._get("FOURCC")) & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1")
        size = (int(self._get("FRAME_WIDTH")), int(self._get("FRAME_HEIGHT")))
        if settings.format and letters != settings.format:
            raise self._refused(f"the format {letters}", settings.format)
        if settings.width and size != (settings.width, settings.height):
            raise self._refused(f"{size[0]} x {size[1]} pixels", f"{settings.width} x {settings.height}")
        if settings.rate and abs(self._get("FPS") / settings.rate - 1) > _RATE_TOLERANCE:
            raise self._refused(f"{self._get('FPS'):g} frames a second", f"{settings.rate:g}")

    def _get(self, what: str) -> float:
        return float(self._capture.get(getattr(self._cv2, f"CAP_PROP_{what}")))

    def _refused(self, given: str, asked: str) -> CameraError:
        remedy = f"`v4l2-ctl --device {self._name} --list-formats-ext` lists what it can do."
        return CameraError(self._name, f"gives {given}, not {asked}", remedy)
