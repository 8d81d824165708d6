"""Light, belt and metal: how a drawn part becomes a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import FrozenSet, List, Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.sample import layout, texture
from edge_agent.sample.geometry import Field, cover, ramp

WIDTH = 640
HEIGHT = 480

_RAIL = 24
_DEPTH = 7.0  # pixels that the wall of an opening is seen to go down


@dataclass(frozen=True)
class Pose:
    """Where a part lies and how it is lit; small differences from part to part, as on a real line."""

    centre: Tuple[float, float]
    angle: float
    scale: float
    light: float
    brightness: float
    warmth: float

    @classmethod
    def drawn(cls, random: np.random.RandomState) -> Pose:
        return cls(
            centre=(WIDTH / 2 + random.uniform(-16, 16), HEIGHT / 2 + random.uniform(-10, 10)),
            angle=math.radians(random.uniform(-7, 7)),
            scale=random.uniform(0.96, 1.04),
            light=math.radians(random.uniform(205, 250)),
            brightness=random.uniform(0.88, 1.12),
            warmth=random.uniform(-0.03, 0.03),
        )

    def grid(self) -> Tuple[Field, Field]:
        """The part's coordinates (u, v) of every pixel of the picture."""
        x = np.arange(WIDTH, dtype=np.float32)[None, :] + np.float32(0.5 - self.centre[0])
        y = np.arange(HEIGHT, dtype=np.float32)[:, None] + np.float32(0.5 - self.centre[1])
        cosine, sine = math.cos(self.angle) / self.scale, math.sin(self.angle) / self.scale
        return np.float32(cosine) * x + np.float32(sine) * y, np.float32(cosine) * y - np.float32(sine) * x

    def towards_light(self) -> Tuple[float, float]:
        """Unit vector to the light in the part's coordinates."""
        return math.cos(self.light - self.angle), math.sin(self.light - self.angle)


def belt(random: np.random.RandomState) -> Field:
    """Brightness of the empty conveyor, 0..1: a woven rubber belt between two aluminium rails."""
    x = np.arange(WIDTH, dtype=np.float32)[None, :] + np.float32(random.uniform(0, 12))
    y = np.arange(HEIGHT, dtype=np.float32)[:, None]
    weave = np.sin(x * np.float32(math.pi / 4)) * np.sin(y * np.float32(math.pi / 4))
    light = np.float32(0.155) + 0.014 * weave
    light = light + 0.010 * texture.piece(texture.grain(), random, HEIGHT, WIDTH)
    light = light + 0.012 * texture.piece(texture.clouds(), random, HEIGHT, WIDTH)
    edge: Field = np.minimum(y, HEIGHT - 1 - y)
    rail = ramp(edge, _RAIL + 1.0, _RAIL - 1.0)
    metal = 0.46 + 0.16 * np.cos((edge - 6) * np.float32(math.pi / 9)) * ramp(edge, _RAIL, 4.0)
    metal = metal + 0.02 * texture.piece(texture.brushed(), random, HEIGHT, WIDTH)
    shade = 1 - 0.35 * ramp(edge, _RAIL + 16.0, _RAIL)
    scene: Field = light * shade * (1 - rail) + metal * rail
    return scene


def flange(
    u: Field, v: Field, pose: Pose, missing: FrozenSet[int], random: np.random.RandomState
) -> Tuple[Field, Field]:
    """Brightness of the part and how much of each pixel it covers, both 0..1."""
    shape = u.shape
    radius: Field = np.hypot(u, v)
    present = [index for index in range(layout.FEATURES) if index not in missing]
    face = _face(shape, radius, random)
    turned = _turned(u, v, radius, pose)
    on_boss = cover(radius - layout.BOSS_RADIUS)
    light = face * (1 - on_boss) + turned * on_boss
    light = light * _code(u, v, random)
    light = light + 0.42 * _relief(u, v, radius, present, pose)
    light = light * (1 - 0.30 * np.exp(-np.square((radius - layout.BOSS_RADIUS - 2) / 3.5)))
    for distance in _openings(u, v, radius, present):
        light = _cut(light, u, v, distance, pose)
    return light, cover(layout.outline(u, v))


def shadow(u: Field, v: Field, pose: Pose) -> Field:
    """How much light the part leaves on the belt, 0..1."""
    du, dv = pose.towards_light()
    left: Field = 1 - 0.62 * ramp(layout.outline(u + np.float32(9 * du), v + np.float32(9 * dv)), 14.0, -6.0)
    return left


def _face(shape: Tuple[int, ...], radius: Field, random: np.random.RandomState) -> Field:
    lines = texture.piece(texture.brushed(), random, shape[0], shape[1])
    stain = texture.piece(texture.clouds(), random, shape[0], shape[1])
    speckle = texture.piece(texture.grain(), random, shape[0], shape[1])
    face: Field = 0.50 + 0.024 * lines + 0.016 * stain + 0.010 * speckle - 0.00012 * radius
    return face


def _turned(u: Field, v: Field, radius: Field, pose: Pose) -> Field:
    """The boss: turning marks, and the bow-tie highlight that they throw."""
    du, dv = pose.towards_light()
    along = (u * np.float32(du) + v * np.float32(dv)) / np.maximum(radius, 1)
    marks = texture.grooves()[np.minimum((radius * 4).astype(np.int32), 4095)]
    sheen = np.square(np.square(np.square(along))).astype(np.float32)
    boss: Field = (0.52 + 0.30 * sheen + (0.018 + 0.03 * sheen) * marks).astype(np.float32)
    return boss


def _relief(u: Field, v: Field, radius: Field, present: List[int], pose: Pose) -> Field:
    """How much more (or less) light the chamfers take than the flat face, about -1..1."""
    height = np.clip(-layout.outline(u, v), 0, 5) + 6 * ramp(radius, layout.BOSS_RADIUS + 3, layout.BOSS_RADIUS - 1)
    height = height - np.clip(layout.BORE_RADIUS + 5 - radius, 0, 8)
    for index in present:
        height = height - np.clip(-layout.feature(index, u, v), 0, 7)
    slope_x = np.zeros_like(height)
    slope_y = np.zeros_like(height)
    slope_x[:, 1:-1] = (height[:, 2:] - height[:, :-2]) / 2
    slope_y[1:-1] = (height[2:] - height[:-2]) / 2
    toward_x, toward_y = math.cos(pose.light), math.sin(pose.light)
    steep = np.square(slope_x) + np.square(slope_y)
    facing = -(slope_x * np.float32(toward_x) + slope_y * np.float32(toward_y))
    gain: Field = facing / np.sqrt(1 + steep)
    return gain


def _code(u: Field, v: Field, random: np.random.RandomState) -> Field:
    """The laser-marked serial number: a square of dark modules with the solid L of a data matrix."""
    size = layout.CODE_MODULES
    modules = random.randint(0, 2, (size, size)).astype(np.float32)
    modules[:, 0] = modules[-1, :] = 1
    modules[0, :] = np.arange(size) % 2 == 0
    modules[:, -1] = np.arange(size) % 2 == 1
    column = np.floor((u - layout.CODE_CENTRE[0]) / layout.MODULE_SIZE + size / 2).astype(np.int32)
    row = np.floor((v - layout.CODE_CENTRE[1]) / layout.MODULE_SIZE + size / 2).astype(np.int32)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    factor = np.ones(u.shape, dtype=np.float32)
    factor[inside] -= np.float32(0.45) * modules[row[inside], column[inside]]
    return factor


def _openings(u: Field, v: Field, radius: Field, present: List[int]) -> List[Field]:
    return [radius - np.float32(layout.BORE_RADIUS)] + [layout.opening(index, u, v) for index in present]


def _cut(light: Field, u: Field, v: Field, distance: Field, pose: Pose) -> Field:
    """Cut an opening: dark below, with the lit wall on the side away from the light."""
    rows = np.flatnonzero((distance < 1).any(axis=1))
    columns = np.flatnonzero((distance < 1).any(axis=0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside = cover(distance[window])
    depth = np.clip(-distance[window], 0, _DEPTH) / _DEPTH
    du, dv = pose.towards_light()
    middle_u, middle_v = float(u[window].mean()), float(v[window].mean())
    across = (u[window] - middle_u) * np.float32(du) + (v[window] - middle_v) * np.float32(dv)
    reach = np.maximum(np.abs(across).max(), 1)
    wall = np.clip(-across / reach, 0, 1) * np.square(1 - depth)
    light = light.copy()
    light[window] = light[window] * (1 - inside) + (0.045 + 0.55 * wall) * inside
    return light


def expose(light: Field, pose: Pose, random: np.random.RandomState) -> npt.NDArray[np.uint8]:
    """The camera: fall-off to the corners, a slightly warm or cold light, sensor noise; uint8 RGB."""
    x = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None, :]
    y = np.linspace(-0.75, 0.75, HEIGHT, dtype=np.float32)[:, None]
    spot_x, spot_y = 0.5 * math.cos(pose.light), 0.5 * math.sin(pose.light)
    falloff = 1.10 - 0.16 * (np.square(x - np.float32(spot_x)) + np.square(y - np.float32(spot_y)))
    noise = texture.piece(texture.grain(), random, HEIGHT, WIDTH)
    level = light * falloff * np.float32(pose.brightness * 255)
    level = level + noise * (1.2 + 0.008 * level)
    tints = (1.0 + pose.warmth, 1.0, 1.03 - pose.warmth)
    picture = np.stack([level * np.float32(tint) for tint in tints], axis=-1)
    image: npt.NDArray[np.uint8] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    return image
