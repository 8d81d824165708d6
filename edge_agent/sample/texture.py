"""Textures of metal, belt and sensor: large noise fields made once, of which each part takes a piece."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from edge_agent.sample.geometry import Field

_Noise = npt.NDArray[np.float64]

#: Sides of the noise fields; larger than a picture, so that every part gets another piece.
_HEIGHT = 768
_WIDTH = 1024


def generator(seed: int) -> np.random.RandomState:
    """A random stream that every NumPy version repeats; the newer generators promise no such thing."""
    return np.random.RandomState(seed)


@functools.lru_cache(maxsize=None)
def grain() -> Field:
    """White noise, mean 0, deviation 1."""
    return _frozen(generator(1).standard_normal((_HEIGHT, _WIDTH)))


@functools.lru_cache(maxsize=None)
def brushed() -> Field:
    """Fine lines along x as a milling cutter or a belt sander leaves them, mean 0, deviation 1."""
    noise = generator(2).standard_normal((_HEIGHT, _WIDTH))
    long_lines = _smooth(noise, 161, axis=1)
    short_lines = _smooth(generator(3).standard_normal((_HEIGHT, _WIDTH)), 31, axis=1)
    return _frozen(long_lines * 7.0 + short_lines * 2.0)


@functools.lru_cache(maxsize=None)
def clouds() -> Field:
    """Slow changes over 40 pixels and more, mean 0, deviation 1."""
    noise = generator(4).standard_normal((_HEIGHT, _WIDTH))
    for axis in (0, 1, 0, 1):
        noise = _smooth(noise, 61, axis=axis)
    return _frozen(noise)


@functools.lru_cache(maxsize=None)
def grooves() -> Field:
    """Turning marks by radius in quarter pixels, mean 0, deviation 1."""
    noise = generator(5).standard_normal((1, 4096))
    marks: Field = _frozen(_smooth(noise, 5, axis=1) + 0.3 * noise)[0]
    return marks


def piece(field: Field, random: np.random.RandomState, height: int, width: int) -> Field:
    """A random window of a noise field."""
    top = random.randint(0, field.shape[0] - height + 1)
    left = random.randint(0, field.shape[1] - width + 1)
    return field[top : top + height, left : left + width]


def _smooth(noise: _Noise, length: int, *, axis: int) -> _Noise:
    """A running mean that wraps around."""
    padded = np.concatenate([noise, np.take(noise, range(length), axis=axis)], axis=axis)
    sums = np.cumsum(padded, axis=axis)
    size = noise.shape[axis]
    ends = np.take(sums, range(length, length + size), axis=axis)
    starts = np.take(sums, range(size), axis=axis)
    mean: _Noise = (ends - starts) / length
    return mean


def _frozen(noise: _Noise) -> Field:
    field: Field = ((noise - noise.mean()) / noise.std()).astype(np.float32)
    field.flags.writeable = False
    return field
