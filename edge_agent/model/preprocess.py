"""From pixels to the model's input tensor (contract section 5.4): resize, three channels, scale, normalise, NCHW.

The arithmetic on a pixel depends on its value and channel alone, so it is done once for the 256 values and looked up:
the same float32 results, bit for bit, without passes over the whole image. The resize is OpenCV's, or the faster equal
of it in `area`.
"""

from __future__ import annotations

import functools
from typing import Any, Optional, Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.errors import ImageError, MissingExtraError
from edge_agent.frame import CHANNELS, Pixels
from edge_agent.model.area import AreaResizer, plan_area
from edge_agent.model.manifest import INTER_AREA, Stage

try:
    import cv2
except ImportError as error:
    raise MissingExtraError("opencv-python-headless", "server") from error

Tensor = npt.NDArray[Any]

#: ImageNet's, by channel: what `normalize` subtracts and divides by.
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

# Shapes of images whose plan is kept: as many cameras of different kinds may take turns. Each has some megabytes.
_PLANS = 4


class Preprocessor:
    """The pre-processing of one stage. Not thread-safe: it owns its buffers."""

    def __init__(self, stage: Stage) -> None:
        shape, kind = stage.network_input
        self._takes_pixels = stage.takes_pixels
        self._size = (stage.image_width, stage.image_height)
        self._interpolation = INTER_AREA if stage.interpolation is None else stage.interpolation
        self._tables = _tables(stage)
        self._tensor: Tensor = np.empty(shape, dtype=kind)
        # Straight into the network's input where that takes pixels.
        self._resized: Pixels = (
            self._tensor[0]
            if stage.takes_pixels
            else np.empty((stage.image_height, stage.image_width, CHANNELS), dtype=np.uint8)
        )
        self._plan = functools.lru_cache(maxsize=_PLANS)(functools.partial(_plan, self._size, self._interpolation))

    @property
    def tensor(self) -> Tensor:
        """Where `run` leaves its result: as the stage's `network_input` says, the same array for ever."""
        return self._tensor

    def prepare(self, height: int, width: int) -> None:
        """Plan for RGB images of this shape, which the first of them would else wait for (up to 0.1 s)."""
        self._plan((height, width, CHANNELS))

    def run(self, pixels: Pixels) -> Tensor:
        """Fill the input tensor and return it; the next call overwrites it.

        Args:
            pixels: uint8, shape (h, w), (h, w, 1), (h, w, 3) as RGB or (h, w, 4) as RGBA. Alpha is dropped after
                the resize and grey is repeated into three channels, as the service's own code does.

        Raises:
            ImageError: another dtype or shape.
        """
        _check(pixels)
        plan = self._plan(pixels.shape) if pixels.flags.c_contiguous else None
        resized = self._resized
        if plan is None or not plan.run(pixels, resized):
            resized = self._resize(pixels)
        if self._takes_pixels:
            return self._tensor
        planes = cv2.split(resized)  # (h, w, 1) comes out of the resize as (h, w)
        for channel in range(CHANNELS):
            plane = planes[channel if len(planes) >= CHANNELS else 0]
            cv2.LUT(plane, self._tables[channel], dst=self._tensor[0, channel])
        return self._tensor

    def _resize(self, pixels: Pixels) -> Pixels:
        """By OpenCV. Where the network takes pixels, they end in its input, with three channels."""
        if not self._takes_pixels:
            resized: Pixels = cv2.resize(pixels, self._size, interpolation=self._interpolation)
            return resized
        if pixels.shape[2:] == (CHANNELS,):
            cv2.resize(pixels, self._size, dst=self._resized, interpolation=self._interpolation)
        else:
            few = cv2.resize(pixels, self._size, interpolation=self._interpolation)
            code = cv2.COLOR_GRAY2RGB if few.ndim == 2 else cv2.COLOR_RGBA2RGB
            cv2.cvtColor(few, code, dst=self._resized)
        return self._resized


def use_one_opencv_thread() -> None:
    """Switch OpenCV's own thread pool off, process-wide: the engine owns the thread budget."""
    cv2.setNumThreads(1)


def _check(pixels: Any) -> None:
    shape: Optional[Any] = getattr(pixels, "shape", None)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        raise ImageError("image", f"is {getattr(pixels, 'dtype', type(pixels).__name__)}, not uint8")
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4))) or 0 in pixels.shape:
        raise ImageError("image", f"has shape {shape}, not (h, w) or (h, w, 1 | 3 | 4)")


def _plan(size: Tuple[int, int], interpolation: int, shape: Tuple[int, ...]) -> Optional[AreaResizer]:
    if interpolation != INTER_AREA or shape[2:] != (CHANNELS,):
        return None
    return plan_area((shape[0], shape[1]), size)


def _tables(stage: Stage) -> npt.NDArray[np.float32]:
    """The value of each of the 256 levels in each channel, shape (3, 256), float32."""
    levels = np.tile(np.arange(256, dtype=np.float32), (CHANNELS, 1))
    if stage.image_range_scale:
        levels = levels / np.float32(255)
    if stage.normalize:
        levels = (levels - MEAN[:, None]) / STD[:, None]
    return np.ascontiguousarray(levels)
