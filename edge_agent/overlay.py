"""The anomaly mask drawn over the picture."""

from __future__ import annotations

from typing import Iterable, Sequence, Tuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_agent.frame import Pixels
from edge_agent.inspection import BACKGROUND, Anomaly

_BACKGROUND_COLOR = "#FFFFFF"


def draw_overlay(pixels: Pixels, mask: Pixels, anomalies: Sequence[Anomaly], *, opacity: float = 0.5) -> Pixels:
    """The picture with the mask's colours over it, background left as it is and a full-colour edge around each area.

    Args:
        pixels: RGB888, shape (height, width, 3).
        mask: RGB888 of any size; scaled to the picture by its nearest pixels.
        anomalies: names the background's colour; white where they do not.
        opacity: of the colours, 0..1.

    Returns:
        A new picture, RGB888, of the shape of `pixels`.
    """
    height, width = pixels.shape[:2]
    mask, found = found_areas(mask, background_color(anomalies), (width, height))
    # Wider types while blending: sums of uint8 wrap around.
    blended = pixels * (1 - opacity) + mask * opacity
    drawn = np.where(found[:, :, None], blended, pixels).round().astype(np.uint8)
    edge = found & ~_shrunk(found)
    drawn[edge] = mask[edge]
    return drawn


def background_color(anomalies: Iterable[Anomaly]) -> str:
    """#RRGGBB of the mask where nothing was found; white where the anomalies do not name it."""
    return next((a.hex_color for a in anomalies if a.name == BACKGROUND), _BACKGROUND_COLOR)


def found_areas(mask: Pixels, background: str, size: Tuple[int, int]) -> Tuple[Pixels, npt.NDArray[np.bool_]]:
    """The mask (RGB888) in this (width, height), by its nearest pixels, and where it is not of the background's colour."""
    mask = scaled(mask, size)
    color = bytes.fromhex(background[1:])
    # Plane by plane: `any` over the last axis takes seven times as long.
    red, green, blue = (mask[..., channel] != color[channel] for channel in range(3))
    return mask, red | green | blue


def scaled(mask: Pixels, size: Tuple[int, int]) -> Pixels:
    """The mask (RGB888) in this (width, height), by its nearest pixels."""
    if mask.shape[1::-1] == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _shrunk(area: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """`area` without the pixels at its border, two deep."""
    for _ in range(2):
        padded = np.pad(area, 1)
        area = area & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return area
