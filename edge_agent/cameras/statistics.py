"""What one frame's numbers say of light and focus."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Dict

import numpy as np

from edge_agent.frame import Pixels

_WHITE = 255

# Luma of ITU-R BT.601.
_WEIGHTS = np.array((0.299, 0.587, 0.114), np.float32)


@dataclass(frozen=True)
class FrameStatistics:
    """Of one frame.

    Attributes:
        mean: of the grey values, 0..255.
        minimum: of all channels.
        maximum: of all channels.
        saturated: share of the pixels with a channel at 255, 0..1. More than a few per cent: expose less.
        sharpness: variance of the Laplacian (four neighbours) of the grey values. Compare it between two looks at the
            same scene alone: it grows with focus, but with contrast and noise too.
    """

    mean: float
    minimum: int
    maximum: int
    saturated: float
    sharpness: float

    def as_dict(self) -> Dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


def frame_statistics(pixels: Pixels) -> FrameStatistics:
    """Of an RGB888 frame of shape (height, width, 3), at least three pixels a side."""
    grey = pixels @ _WEIGHTS
    inside = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return FrameStatistics(
        mean=float(grey.mean()),
        minimum=int(pixels.min()),
        maximum=int(pixels.max()),
        saturated=float((pixels.max(axis=2) == _WHITE).mean()),
        sharpness=float((around - 4 * inside).var()),
    )
