"""The drawing of the sample part: a milled bearing flange, and where its features sit.

Coordinates are pixels of the part around its centre, u to the right and v down, before it is turned and shifted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from edge_agent.sample.geometry import Field, Point, circle, cover, rounded_box, segment

HALF_SIZE: Point = (186.0, 142.0)
CORNER_RADIUS = 44.0
BOSS_RADIUS = 94.0
BORE_RADIUS = 54.0
CODE_CENTRE: Point = (0.0, 117.0)
CODE_MODULES = 12
MODULE_SIZE = 2.6


@dataclass(frozen=True)
class Hole:
    """A round hole through the flange; `sink` is the outer radius of its countersink."""

    centre: Point
    radius: float
    sink: float


@dataclass(frozen=True)
class Slot:
    """A slot with round ends through the flange."""

    start: Point
    end: Point
    radius: float


BOLT_HOLES: Tuple[Hole, ...] = tuple(Hole((u, v), 16.0, 23.0) for u in (-144.0, 144.0) for v in (-100.0, 100.0))
DOWEL_HOLES: Tuple[Hole, ...] = (Hole((0.0, -118.0), 8.0, 10.5),)
SLOTS: Tuple[Slot, ...] = (Slot((-146.0, -26.0), (-146.0, 26.0), 9.0), Slot((146.0, -26.0), (146.0, 26.0), 9.0))

HOLES = BOLT_HOLES + DOWEL_HOLES
FEATURES = len(HOLES) + len(SLOTS)


def outline(u: Field, v: Field) -> Field:
    """Distance to the outer edge of the flange."""
    return rounded_box(u, v, HALF_SIZE, CORNER_RADIUS)


def feature(index: int, u: Field, v: Field) -> Field:
    """Distance to the rim of a hole (its countersink included) or of a slot; holes come first."""
    if index < len(HOLES):
        hole = HOLES[index]
        return circle(u, v, hole.centre, hole.sink)
    slot = SLOTS[index - len(HOLES)]
    return segment(u, v, slot.start, slot.end) - slot.radius - 1.5


def opening(index: int, u: Field, v: Field) -> Field:
    """Distance to the open part of a hole or a slot, where the belt's dark shows."""
    if index < len(HOLES):
        hole = HOLES[index]
        return circle(u, v, hole.centre, hole.radius)
    slot = SLOTS[index - len(HOLES)]
    return segment(u, v, slot.start, slot.end) - slot.radius


def open_ground(u: Field, v: Field) -> Field:
    """1 on the flange's plain face, away from edge, boss, holes, slots and code: where a surface can be spoilt."""
    free = cover(outline(u, v) + 12) * cover(-circle(u, v, (0.0, 0.0), BORE_RADIUS) + 4)
    for index in range(FEATURES):
        free = free * cover(-feature(index, u, v) + 3)
    return free
