"""What can be wrong with a part: scratches, cracks, features that were never made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.sample import layout
from edge_agent.sample.geometry import Field, Point, cover, polyline, ramp

Mask = npt.NDArray[np.uint8]

#: Class index of the mask by name; 0 is background.
CLASS_NAMES: Tuple[str, ...] = ("background", "scratch", "crack", "missing")

#: A person who marks a defect paints a little beyond its edge; so do these masks. Pixels.
_MARGIN = 2.0

#: Below this brightness lies an opening, not metal.
_DARK = 0.2

_ARC_PIECES = 10


@dataclass(frozen=True)
class Stroke:
    """A line on the part's face: points and the width of each piece in pixels of the part, and how clearly it shows."""

    points: Tuple[Point, ...]
    widths: Tuple[float, ...]
    contrast: float = 1.0

    def distance(self, u: Field, v: Field) -> Tuple[Tuple[slice, slice], Field]:
        """The window of the picture that the stroke touches, and the distance to it there."""
        reach = max(self.widths) / 2 + _MARGIN + 2
        us, vs = [p[0] for p in self.points], [p[1] for p in self.points]
        near = (u > min(us) - reach) & (u < max(us) + reach) & (v > min(vs) - reach) & (v < max(vs) + reach)
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        return window, polyline(u[window], v[window], self.points, self.widths)


def draw_scratch(random: np.random.RandomState) -> List[Stroke]:
    """One to three gentle arcs side by side somewhere on the plain face or across the boss."""
    centre = _place(random)
    direction = random.uniform(0, 2 * math.pi)
    length = random.uniform(60, 150)
    bend = random.uniform(-0.5, 0.5)
    width = random.uniform(2.0, 3.6)
    contrast = float(random.uniform(0.5, 0.85))
    strokes = []
    for number in range(random.randint(1, 4)):
        aside = number * random.uniform(5, 9)
        start = -length / 2 + random.uniform(0, 0.2) * length * number
        end = length / 2 - random.uniform(0, 0.3) * length * number
        points = _arc(centre, direction, bend / length, (start, end), aside)
        strokes.append(Stroke(points, _tapered(width, len(points) - 1), contrast))
    return strokes


def draw_crack(random: np.random.RandomState) -> List[Stroke]:
    """A jagged line that starts at an edge or a hole, grows thinner, and may branch."""
    start, direction = _crack_origin(random)
    trunk = _walk(random, start, direction, random.uniform(60, 120), random.uniform(3.4, 5.4))
    strokes = [trunk]
    if random.uniform() < 0.6:
        joint = random.randint(2, len(trunk.points) - 2)
        turn = direction + random.choice([-1, 1]) * random.uniform(0.5, 0.9)
        strokes.append(_walk(random, trunk.points[joint], turn, random.uniform(20, 45), trunk.widths[joint] * 0.8))
    return strokes


def mark_scratches(light: Field, mask: Mask, strokes: List[Stroke], u: Field, v: Field) -> None:
    """Scratch the face in place: a bright burr beside a darker groove."""
    for stroke in strokes:
        window, distance = stroke.distance(u, v)
        metal = cover(layout.outline(u[window], v[window]) + 1) * (light[window] > _DARK)
        groove = cover(distance) * metal
        burr = cover(np.abs(distance - 1.2) - 0.7) * metal
        light[window] += stroke.contrast * (0.75 * groove - 0.5 * burr) * light[window]
        mask[window][(distance < _MARGIN) & (metal > 0)] = CLASS_NAMES.index("scratch")


def mark_cracks(light: Field, mask: Mask, strokes: List[Stroke], u: Field, v: Field) -> None:
    """Crack the part in place: a dark gap with one lit lip."""
    for stroke in strokes:
        window, distance = stroke.distance(u, v)
        metal = cover(layout.outline(u[window], v[window])) * (light[window] > _DARK)
        gap = cover(distance) * metal
        lip = ramp(distance, 2.5, 0.5) * (1 - gap) * metal
        light[window] *= (1 - 0.85 * gap) * (1 + 0.12 * lip)
        mask[window][(distance < _MARGIN) & (metal > 0.5)] = CLASS_NAMES.index("crack")


def mark_missing(mask: Mask, index: int, u: Field, v: Field) -> None:
    """The place where a feature should have been."""
    mask[layout.feature(index, u, v) < _MARGIN / 2] = CLASS_NAMES.index("missing")


def _place(random: np.random.RandomState) -> Point:
    """A point on the face or the boss, not in an opening."""
    while True:
        u = float(random.uniform(-150, 150))
        v = float(random.uniform(-115, 115))
        here = (np.full((1, 1), u, np.float32), np.full((1, 1), v, np.float32))
        if layout.open_ground(*here)[0, 0] > 0.5:
            return u, v


def _arc(centre: Point, direction: float, bend: float, span: Tuple[float, float], aside: float) -> Tuple[Point, ...]:
    """Points on a parabola through `centre`, moved `aside`, from span[0] to span[1] along `direction`."""
    cosine, sine = math.cos(direction), math.sin(direction)
    points = []
    for step in range(_ARC_PIECES + 1):
        along = span[0] + (span[1] - span[0]) * step / _ARC_PIECES
        across = aside + bend * along * along
        points.append((centre[0] + cosine * along - sine * across, centre[1] + sine * along + cosine * across))
    return tuple(points)


def _tapered(width: float, pieces: int) -> Tuple[float, ...]:
    """Widest in the middle."""
    return tuple(width * (0.45 + 0.55 * math.sin(math.pi * (piece + 0.5) / pieces)) for piece in range(pieces))


def _crack_origin(random: np.random.RandomState) -> Tuple[Point, float]:
    """A point on the outer edge, or on the rim of a bolt hole or of the bore, and the way into the metal."""
    place = random.randint(0, 3)
    angle = float(random.uniform(0, 2 * math.pi))
    cosine, sine = math.cos(angle), math.sin(angle)
    if place == 0:
        return (layout.BORE_RADIUS * cosine, layout.BORE_RADIUS * sine), angle
    if place == 1:
        hole = layout.BOLT_HOLES[random.randint(0, len(layout.BOLT_HOLES))]
        inward = math.atan2(-hole.centre[1], -hole.centre[0]) + random.uniform(-1.0, 1.0)
        start = (hole.centre[0] + hole.radius * math.cos(inward), hole.centre[1] + hole.radius * math.sin(inward))
        return start, inward
    half_u, half_v = layout.HALF_SIZE
    start = (half_u * random.uniform(-0.6, 0.6), half_v * float(random.choice([-1, 1])))
    return start, math.atan2(-start[1], -start[0] * 0.3)


def _walk(random: np.random.RandomState, start: Point, direction: float, length: float, width: float) -> Stroke:
    """A jagged path of short pieces that keeps its general direction and thins towards its end."""
    points = [start]
    widths = []
    pieces = max(4, round(length / 9))
    for number in range(pieces):
        turn = direction + random.uniform(-0.75, 0.75)
        reach = length / pieces * random.uniform(0.7, 1.3)
        points.append((points[-1][0] + reach * math.cos(turn), points[-1][1] + reach * math.sin(turn)))
        widths.append(width * (1 - 0.7 * number / pieces))
    return Stroke(tuple(points), tuple(widths))
