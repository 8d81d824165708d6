"""Numbered pictures that show any swap of channels, any turn, any shift of rows, and any mix-up of order."""

from __future__ import annotations

from typing import Tuple

import numpy as np

from edge_agent.frame import Pixels

#: Rows of 294 bytes: no multiple of 4, 8, 16 or 32, which decoders pad rows to.
WIDTH, HEIGHT = 98, 90

#: Numbers that can be told apart, also after a lossy codec.
NUMBERS = 14

_CORNERS = (
    ((slice(0, 45), slice(0, 49)), (200, 40, 40)),
    ((slice(0, 45), slice(49, 98)), (40, 200, 40)),
    ((slice(45, 90), slice(0, 49)), (40, 40, 200)),
    ((slice(45, 90), slice(49, 98)), (200, 200, 40)),
)
_PATCH = (slice(30, 60), slice(34, 64))
_DARKEST, _STEP = 16, 16

# Colour spreads over a few pixels where a codec halves its resolution.
_SOFT = 8


def picture(number: int) -> Pixels:
    """RGB, (90, 98, 3) uint8: a colour in each corner and a grey patch that tells the number, 0 to 13."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for corner, colour in _CORNERS:
        pixels[corner] = colour
    pixels[_PATCH] = _DARKEST + _STEP * number
    return pixels


def number_in(pixels: Pixels, tolerance: int) -> int:
    """The number of a picture; asserts that it is one, each value within `tolerance`."""
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    rows, columns = _PATCH
    patch = pixels[rows.start + _SOFT : rows.stop - _SOFT, columns.start + _SOFT : columns.stop - _SOFT].astype(int)
    number = round((float(patch.mean()) - _DARKEST) / _STEP)
    difference = np.abs(pixels.astype(int) - picture(number).astype(int))
    if tolerance:
        difference = difference[_away_from_edges()]
    assert difference.max() <= tolerance, f"values differ by up to {difference.max()}"
    return number


def _away_from_edges() -> "np.ndarray[Tuple[int, ...], np.dtype[np.bool_]]":
    """Where a codec that halves the resolution of colour leaves the colours alone: (90, 98), true there."""
    keep = np.ones((HEIGHT, WIDTH), bool)
    for edge in (HEIGHT // 2, _PATCH[0].start, _PATCH[0].stop):
        keep[edge - _SOFT : edge + _SOFT] = False
    for edge in (WIDTH // 2, _PATCH[1].start, _PATCH[1].stop):
        keep[:, edge - _SOFT : edge + _SOFT] = False
    return keep
