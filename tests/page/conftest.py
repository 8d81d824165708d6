"""Frames and inspections for the page."""

from __future__ import annotations

from typing import Callable, Optional

import numpy as np
import pytest

from edge_agent.frame import Frame, Pixels, Placement
from edge_agent.inspection import Anomaly, Inspection, Timings

BACKGROUND = Anomaly("background", 0.99, "#FFFFFF")
SCRATCH = Anomaly("scratch", 0.01, "#2CA02C")

#: Frame, inspection and mask of one part.
Look = Callable[..., None]


def make_frame(sequence: int, width: int = 320, height: int = 240) -> Frame:
    pixels = np.full((height, width, 3), 128, np.uint8)
    return Frame(
        camera="a",
        sequence=sequence,
        pixels=pixels,
        placement=Placement("/none", 0, pixels.nbytes),
        captured_at_ns=1_700_000_000_000_000_000 + sequence,
        captured_ns=sequence,
        decoded_ns=sequence,
        source=f"part-{sequence}.png",
        release=lambda: None,
    )


def make_inspection(
    sequence: int, *, anomalous: bool = False, confidence: float = 0.9, total: float = 20.0
) -> Inspection:
    return Inspection(
        id=f"{sequence:032x}",
        run="0" * 32,
        thing="press-7",
        camera="a",
        sequence=sequence,
        captured_at_ns=1_700_000_000_000_000_000 + sequence,
        model_component="com.example.Colours",
        model_version="1.0.0",
        is_anomalous=anomalous,
        confidence=confidence,
        anomalies=(BACKGROUND, SCRATCH) if anomalous else (BACKGROUND,),
        timings=Timings(1.0, 1.0, total - 2.0, total),
        image_width=320,
        image_height=240,
        source=f"part-{sequence}.png",
    )


def make_mask(width: int = 320, height: int = 240) -> Pixels:
    """White, with a green field of 20 x 10 from (40, 30)."""
    mask = np.full((height, width, 3), 255, np.uint8)
    mask[30:40, 40:60] = (0x2C, 0xA0, 0x2C)
    return mask


@pytest.fixture
def no_mask() -> Callable[[], Optional[Pixels]]:
    return lambda: None
