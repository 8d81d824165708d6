"""Distances and ramps on pixel grids: what the parts and their defects are built from.

Distances are float32, in pixels of the part, negative inside the shape.
"""

from __future__ import annotations

from typing import Sequence, Tuple

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Point = Tuple[float, float]


def circle(u: Field, v: Field, centre: Point, radius: float) -> Field:
    """Distance to a circle."""
    distance: Field = np.hypot(u - np.float32(centre[0]), v - np.float32(centre[1])) - np.float32(radius)
    return distance


def rounded_box(u: Field, v: Field, half: Point, radius: float) -> Field:
    """Distance to a box around the origin, `half` wide and high to each side, with rounded corners."""
    across = np.abs(u) - np.float32(half[0] - radius)
    along = np.abs(v) - np.float32(half[1] - radius)
    outside = np.hypot(np.maximum(across, 0), np.maximum(along, 0))
    inside = np.minimum(np.maximum(across, along), 0)
    distance: Field = outside + inside - np.float32(radius)
    return distance


def segment(u: Field, v: Field, start: Point, end: Point) -> Field:
    """Distance to a line segment, never negative."""
    du, dv = end[0] - start[0], end[1] - start[1]
    length = max(du * du + dv * dv, 1e-6)
    along = ((u - np.float32(start[0])) * np.float32(du) + (v - np.float32(start[1])) * np.float32(dv)) / length
    along = np.clip(along, 0, 1)
    return np.hypot(u - np.float32(start[0]) - along * du, v - np.float32(start[1]) - along * dv).astype(np.float32)


def polyline(u: Field, v: Field, points: Sequence[Point], widths: Sequence[float]) -> Field:
    """Distance to a line that is `widths[i]` pixels wide from point i to i + 1; negative on it."""
    nearest = np.full(u.shape, np.inf, dtype=np.float32)
    for start, end, width in zip(points, points[1:], widths):
        np.minimum(nearest, segment(u, v, start, end) - np.float32(width / 2), out=nearest)
    return nearest


def cover(distance: Field) -> Field:
    """How much of each pixel lies inside, 0..1: an edge one pixel soft."""
    share: Field = np.clip(np.float32(0.5) - distance, 0, 1)
    return share


def ramp(value: Field, start: float, end: float) -> Field:
    """0 at `start`, 1 at `end`, smooth between; `start` may lie above `end`."""
    share = np.clip((value - np.float32(start)) / np.float32(end - start), 0, 1)
    smooth: Field = share * share * (3 - 2 * share)
    return smooth
