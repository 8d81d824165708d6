"""Figures that a process tells of itself, in no exporter's form: Prometheus and CloudWatch each make their own of them."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import List, Literal, NamedTuple, Tuple, Union

#: count      of things
#: seconds, bytes
#: state      1 where the labels' last one holds, 0 where not
Unit = Literal["count", "seconds", "bytes", "state"]


@dataclass(frozen=True)
class Definition:
    """What a figure is.

    Attributes:
        name: with its unit, and without the `_total` that Prometheus puts behind a counter's.
        kind: a counter begins at 0 with the process and never falls, but where what it counts begins anew.
        unit: of its values.
        labels: names of the labels that tell its samples apart.
        words: what it means.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: Unit
    labels: Tuple[str, ...]
    words: str


class HistogramReading(NamedTuple):
    """One consistent reading.

    `bounds` are the buckets' upper bounds without the last one, which has none; `counts` are the buckets' own, one more
    than there are bounds.
    """

    bounds: Tuple[float, ...]
    counts: Tuple[int, ...]
    sum: float

    @property
    def total(self) -> int:
        return sum(self.counts)


class Sample(NamedTuple):
    """Values of the labels, in the order of their definition, and the figure's value."""

    labels: Tuple[str, ...]
    value: Union[float, HistogramReading]


@dataclass(frozen=True)
class Figure:
    """One figure as it is now."""

    definition: Definition
    samples: List[Sample] = field(default_factory=list)

    def add(self, value: Union[float, HistogramReading], *labels: str) -> None:
        self.samples.append(Sample(labels, value))


class Histogram:
    """Safe to use from any thread.

    Args:
        bounds: upper bounds of the buckets, rising.
    """

    def __init__(self, bounds: Tuple[float, ...]) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[bucket] += 1
            self._sum += value

    def read(self) -> HistogramReading:
        with self._lock:
            return HistogramReading(self._bounds, tuple(self._counts), self._sum)
