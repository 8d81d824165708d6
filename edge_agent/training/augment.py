"""Random changes to training images that leave their labels true: turned, mirrored, moved, lit and blurred anew."""

from __future__ import annotations

import math
from typing import Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.errors import MissingExtraError
from edge_agent.frame import Pixels
from edge_agent.training.pictures import Mask, is_defect
from edge_agent.training.settings import SIDE_MULTIPLE

try:
    import cv2
except ImportError as error:
    raise MissingExtraError("opencv-python-headless", "train") from error

_Matrix = npt.NDArray[np.float64]

_TURN = 15.0  # degrees to either side
_SCALE = 0.12
_SHIFT = 0.06  # of the side
_BRIGHTNESS = 0.25
_CONTRAST = 0.2
_TINT = 0.06
_NOISE = 8.0  # grey levels to either side
_BLUR_SHARE = 0.15

_SMALLEST_CROP = 64


def augment(image: Pixels, mask: Mask, random: np.random.RandomState) -> Tuple[Pixels, Mask]:
    """A changed copy of an image and its mask, of the same shapes."""
    height, width = mask.shape
    matrix = _placement(width, height, random)
    image = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    mask = cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    if random.uniform() < _BLUR_SHARE:
        image = cv2.GaussianBlur(image, (3, 3), 0)
    return _lit(image, random), mask


def crop_window(mask: Mask, random: np.random.RandomState, *, at_defect: bool) -> Tuple[slice, slice]:
    """Rows and columns of a piece with about half the sides; where there is a defect it can be asked to lie in it."""
    defects = np.argwhere(is_defect(mask)) if at_defect else ()
    target = defects[random.randint(len(defects))] if len(defects) else None
    window = []
    for axis, side in enumerate(mask.shape):
        length = min(side, max(_SMALLEST_CROP, math.ceil(side / 2 / SIDE_MULTIPLE) * SIDE_MULTIPLE))
        lowest, highest = 0, side - length
        if target is not None:
            lowest, highest = max(0, target[axis] - length + 1), min(highest, target[axis])
        start = random.randint(lowest, highest + 1)
        window.append(slice(start, start + length))
    return window[0], window[1]


def _placement(width: int, height: int, random: np.random.RandomState) -> _Matrix:
    angle = random.uniform(-_TURN, _TURN)
    scale = math.exp(random.uniform(-_SCALE, _SCALE))
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), angle, scale)
    matrix[:, 2] += random.uniform(-_SHIFT, _SHIFT, 2) * (width, height)
    mirror = np.eye(3)
    for axis, side in enumerate((width, height)):
        if random.uniform() < 0.5:
            mirror[axis, axis] = -1
            mirror[axis, 2] = side - 1
    turned: _Matrix = matrix @ mirror
    return turned


def _lit(image: Pixels, random: np.random.RandomState) -> Pixels:
    gain = 1 + random.uniform(-_CONTRAST, _CONTRAST) + random.uniform(-_TINT, _TINT, 3)
    offset = 128 * random.uniform(-_BRIGHTNESS, _BRIGHTNESS)
    middle = float(image.mean())
    lit = (image.astype(np.float32) - np.float32(middle)) * gain.astype(np.float32) + np.float32(middle + offset)
    noise = random.randint(0, 256, (*image.shape[:2], 1), dtype=np.uint8).astype(np.float32) / 127.5 - 1
    clipped: Pixels = np.clip(lit + noise * np.float32(random.uniform(0, _NOISE)), 0, 255).astype(np.uint8)
    return clipped
