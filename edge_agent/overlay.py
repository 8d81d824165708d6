"""The anomaly mask drawn over the picture."""

from __future__ import annotations

from typing import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_agent.frame import Pixels
from edge_agent.inspection import Anomaly

_BACKGROUND = "background"
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
    if mask.shape != pixels.shape:
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    color = next((a.hex_color for a in anomalies if a.name == _BACKGROUND), _BACKGROUND_COLOR)
    background = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    found = (mask != background).any(axis=2)
    # Wider types while blending: sums of uint8 wrap around.
    blended = pixels * (1 - opacity) + mask * opacity
    drawn = np.where(found[:, :, None], blended, pixels).round().astype(np.uint8)
    edge = found & ~_shrunk(found)
    drawn[edge] = mask[edge]
    return drawn


def _shrunk(area: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """`area` without the pixels at its border, two deep."""
    for _ in range(2):
        padded = np.pad(area, 1)
        area = area & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return area
