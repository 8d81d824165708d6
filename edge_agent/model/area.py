"""OpenCV's INTER_AREA for shrinking RGB images, several times faster and with the same bits.

OpenCV averages each source row horizontally, pixel by pixel, and adds the rows up. Here the rows are averaged first,
all those together that lie alike in their cells, and the few averaged rows then horizontally, by OpenCV. That differs
in the last bits of a float, which matters only where an average lies so near to a half that the two could round it
differently. How near is bounded by the number of roundings; those averages alone are made again in OpenCV's own order.

The weights are read out of OpenCV itself, and each new pair of sizes is tried once against OpenCV on noise, which has
thousands of such averages: an OpenCV that is built to round in another way (with fused multiply-add, say) is found out
and used as it is.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import List, Optional, Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.errors import MissingExtraError
from edge_agent.frame import CHANNELS, Pixels

try:
    import cv2
except ImportError as error:
    raise MissingExtraError("opencv-python-headless", "server") from error

_Floats = npt.NDArray[np.float32]

# What each way costs, in nanoseconds for a value of a source row and for a call; measured on x86_64. They decide which
# way is taken and never what comes out.
_NS_OPENCV, _NS_ADD, _NS_ACROSS, _NS_FINISH, _NS_CALL = 0.6, 0.14, 0.35, 0.7, 1000.0

# Averaged rows of one chunk: enough to make calls few, few enough to stay in the cache.
_CHUNK_BYTES = 4 << 20

_LARGEST = 255.0
_ROUNDING = 2.0**-24  # relative error of one float32 operation

# An image with more doubtful averages than one in ten is quicker in OpenCV.
_MOST_DOUBTFUL = 0.1
_BATCH = 4096

# Bytes of noise that are repeated over a trial image; a prime, so that no two rows are alike.
_NOISE = 1_000_003

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Axis:
    """How one axis shrinks: target `i` is the sum over k of weights[i, k] times source starts[i] + k."""

    starts: npt.NDArray[np.intp]
    weights: _Floats

    @property
    def taps(self) -> int:
        return int(self.weights.shape[1])


@dataclass(frozen=True)
class _Step:
    """One source row of each cell of a kind: it enters the running averages of those cells with `alpha`."""

    source: slice
    averages: _Floats  # a view of them
    alpha: float


class AreaResizer:
    """Shrinks images of one shape to one size. Not thread-safe: it owns its buffers.

    Args:
        shape: (height, width) of the images.
        size: (width, height) they become; neither side may grow, nor both shrink by a whole number.
    """

    def __init__(self, shape: Tuple[int, int], size: Tuple[int, int]) -> None:
        (height, width), (self._width, self._height) = shape, size
        rows, columns = _axis(height, self._height), _axis(width, self._width)
        self._rows, self._columns = _inside(rows, height), _inside(columns, width)
        self._row_values = width * CHANNELS
        common = math.gcd(height, self._height)
        self._period, self._source_period = self._height // common, height // common
        self._doubt = self._uncertainty(rows.weights.astype(np.float64))
        tall = max(1, _CHUNK_BYTES // (self._row_values * 4))
        if tall > self._period:
            tall -= tall % self._period
        firsts = range(0, self._height, tall)
        self._chunks = [slice(first, min(first + tall, self._height)) for first in firsts]
        self._averages = np.zeros((min(tall, self._height), self._row_values), dtype=np.float32)
        self._steps = [self._steps_of(chunk) for chunk in self._chunks]
        # Offsets of the values of one cell from its first one.
        taps = np.arange(self._columns.taps, dtype=np.intp)[:, None] * CHANNELS
        self._cell = (taps + np.arange(self._rows.taps, dtype=np.intp) * self._row_values)[:, :, None]

    def pays(self) -> bool:
        """Whether this is clearly the faster way."""
        visits = int(np.count_nonzero(self._rows.weights)) * self._row_values
        across = self._height * self._row_values * _NS_ACROSS
        finish = self._height * self._width * CHANNELS * _NS_FINISH
        calls = sum(len(steps) for steps in self._steps) * _NS_CALL
        few_doubts = self._doubt < _MOST_DOUBTFUL / 4
        return few_doubts and visits * _NS_ADD + across + finish + calls < 0.8 * visits * _NS_OPENCV

    def run(self, pixels: Pixels, out: Pixels) -> bool:
        """Shrink an image.

        Args:
            pixels: RGB888 of the planned shape, C-contiguous.
            out: where it goes: uint8, (height, width, 3).

        Returns:
            Whether it did; False for an image with so many averages near a half that OpenCV is faster.
        """
        source = pixels.reshape(pixels.shape[0], self._row_values)
        for chunk, steps in zip(self._chunks, self._steps):
            count = chunk.stop - chunk.start
            for step in steps:
                cv2.accumulateWeighted(source[step.source], step.averages, step.alpha)
            averages = self._averages[:count].reshape(count, -1, CHANNELS)
            means = cv2.resize(averages, (self._width, count), interpolation=cv2.INTER_AREA)
            # Where a little more and a little less round alike, OpenCV rounds so, too.
            rounded = cv2.convertScaleAbs(means, alpha=1, beta=self._doubt)
            doubtful = np.flatnonzero(rounded != cv2.convertScaleAbs(means, alpha=1, beta=-self._doubt))
            if doubtful.size > rounded.size * _MOST_DOUBTFUL:
                return False
            self._settle(source, rounded.reshape(-1), doubtful, chunk.start)
            out[chunk] = rounded
        return True

    def _settle(self, source: Pixels, rounded: Pixels, doubtful: npt.NDArray[np.intp], row: int) -> None:
        """Make the doubtful ones of a chunk, which begins at `row`, again."""
        for first in range(0, doubtful.size, _BATCH):
            batch = doubtful[first : first + _BATCH]
            rounded[batch] = self._in_opencvs_order(source.reshape(-1), batch + row * self._width * CHANNELS)

    def _in_opencvs_order(self, source: Pixels, targets: npt.NDArray[np.intp]) -> _Floats:
        """The averages at flat positions of the target, with each operation where OpenCV has it."""
        rows, rest = np.divmod(targets, self._width * CHANNELS)
        columns, channels = np.divmod(rest, CHANNELS)
        first = self._rows.starts[rows] * self._row_values + self._columns.starts[columns] * CHANNELS + channels
        cells = np.take(source, self._cell + first).astype(np.float32)  # (columns, rows, targets)
        across, down = self._columns.weights[columns].T, self._rows.weights[rows].T
        sums = cells[0] * across[0]
        for values, weight in zip(cells[1:], across[1:]):
            sums += values * weight
        total = sums[0] * down[0]
        for row, weight in zip(sums[1:], down[1:]):
            total += row * weight
        rounded: _Floats = np.rint(total)
        return rounded

    def _steps_of(self, chunk: slice) -> List[_Step]:
        """Rows whose cells lie alike, a period apart, are averaged together."""
        steps = []
        height = chunk.stop - chunk.start
        for first in range(min(self._period, height)):
            times = len(range(first, height, self._period))
            averages = self._averages[first : (times - 1) * self._period + first + 1 : self._period]
            start = int(self._rows.starts[chunk.start + first])
            total = 0.0
            for tap, weight in enumerate(self._rows.weights[chunk.start + first].tolist()):
                if weight:
                    total += weight
                    top = start + tap
                    source = slice(top, top + (times - 1) * self._source_period + 1, self._source_period)
                    steps.append(_Step(source, averages, weight / total))
        return steps

    def _uncertainty(self, weights: npt.NDArray[np.float64]) -> float:
        """By how much at most the two ways can differ before they round.

        A sum of n products is off by a rounding of each partial sum, and one of all products together. A running
        average has three roundings a step (two products, a sum, two weights), which fade like the step itself; its
        share in the end is what the partial sum of the weights is. All in units of the largest value.
        """
        across, down = _partial_sums(self._columns.weights), _partial_sums(self._rows.weights)
        roundings = 2 * (across + 1) + (down + 1) + 3 * down
        # The weights of one period stand for those of others, and a running average divides by their sum.
        alike = np.tile(weights[: self._period], (self._height // self._period, 1))
        unlike = float(np.abs(weights - alike).sum(axis=1).max())
        short = float(np.abs(weights.sum(axis=1) - 1).max())
        # A little more for products of roundings.
        return 1.01 * _LARGEST * (roundings * _ROUNDING + 2 * unlike + short)


def plan_area(shape: Tuple[int, int], size: Tuple[int, int]) -> Optional[AreaResizer]:
    """A resizer for RGB images of shape (height, width) to size (width, height); None where OpenCV's own is better.

    That is: for enlarging, for whole ratios on both axes, which OpenCV does in another way, where little is to be
    gained, and where this OpenCV turns out to round in another way than the one this was written for.
    """
    (height, width), (target_width, target_height) = shape, size
    if height < target_height or width < target_width:
        return None
    if height % target_height == 0 and width % target_width == 0:
        return None
    resizer = AreaResizer(shape, size)
    if not resizer.pays():
        return None
    trial = np.resize(np.random.default_rng(0).integers(0, 256, _NOISE, dtype=np.uint8), (*shape, CHANNELS))
    found = np.empty((target_height, target_width, CHANNELS), dtype=np.uint8)
    if not resizer.run(trial, found):
        return None
    if not np.array_equal(found, cv2.resize(trial, size, interpolation=cv2.INTER_AREA)):
        _log.warning(
            "OpenCV %s rounds areas in a way of its own: images of %d x %d are resized by it alone, which is slower",
            cv2.__version__,
            width,
            height,
        )
        return None
    return resizer


def _axis(source: int, target: int) -> _Axis:
    """The weights as OpenCV has them: what becomes of single ones in a picture of zeros."""
    taps = -(-source // target) + 2
    lone = np.zeros((source, taps), dtype=np.float32)
    positions = np.arange(source)
    lone[positions, positions % taps] = 1
    shrunk: _Floats = cv2.resize(lone, (taps, target), interpolation=cv2.INTER_AREA)
    # Of the sources that light the same column only one is near enough to a target.
    starts = (np.arange(target) * source // target - 1).astype(np.intp)
    near = starts[:, None] + np.arange(taps)
    weights = np.take_along_axis(shrunk, near % taps, axis=1)
    weights[(near < 0) | (near >= source)] = 0
    return _Axis(starts, weights)


def _partial_sums(weights: _Floats) -> float:
    return float(np.cumsum(weights, axis=1, dtype=np.float64).sum(axis=1).max())


def _inside(axis: _Axis, source: int) -> _Axis:
    """The same with as few taps as do, all of them inside the source."""
    used = axis.weights != 0
    firsts = used.argmax(axis=1)
    taps = int((axis.taps - used[:, ::-1].argmax(axis=1) - firsts).max())
    starts = np.minimum(axis.starts + firsts, source - taps)
    places = (starts - axis.starts)[:, None] + np.arange(taps)
    weights = np.take_along_axis(axis.weights, np.clip(places, 0, axis.taps - 1), axis=1)
    weights[(places < 0) | (places >= axis.taps)] = 0
    return _Axis(starts, weights)
