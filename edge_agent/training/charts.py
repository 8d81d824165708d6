"""Charts as SVG text for a page that needs nothing else; colours come from the page's style sheet by class name."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 44
_TICKS = 5
_BINS = 20


@dataclass(frozen=True)
class Series:
    """A line: its name in the legend, the class that colours it, and its points."""

    name: str
    style: str
    points: Sequence[Tuple[float, float]]


@dataclass(frozen=True)
class Group:
    """Values that a histogram counts, 0..1."""

    name: str
    style: str
    values: Sequence[float]


class _Axes:
    """From values to places in the picture."""

    def __init__(self, x: Tuple[float, float], y: Tuple[float, float]) -> None:
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        low, high = self._x
        return round(_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self._y
        return round(_HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    def frame(self, x_title: str, y_title: str) -> List[str]:
        foot = f'y="{_HEIGHT - 26}" text-anchor="middle"'
        parts = [f'<text class="tick" x="{self.x(at)}" {foot}>{at:g}</text>' for at in _steps(*self._x)]
        for y in _steps(*self._y):
            place = self.y(y)
            parts.append(
                f'<line class="grid" stroke="silver" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{place}" y2="{place}"/>'
            )
            parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{place + 4}" text-anchor="end">{y:g}</text>')
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(f'<text class="tick" x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{_text(x_title)}</text>')
        parts.append(
            f'<text class="tick" x="12" y="{_HEIGHT / 2}" text-anchor="middle" '
            f'transform="rotate(-90 12 {_HEIGHT / 2})">{_text(y_title)}</text>'
        )
        return parts

    def upright(self, x: float) -> str:
        place = self.x(x)
        return (
            f'<line class="mark" stroke="currentColor" x1="{place}" x2="{place}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        )


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x: str,
    y: str,
    highest: Optional[float] = None,
    mark: Optional[float] = None,
) -> str:
    """Lines over a common x; y begins at 0.

    Args:
        title: what the chart says, for those who do not see it.
        series: at least one, with at least one point.
        x: title of the axis.
        y: title of the axis.
        highest: of y; None for the highest value.
        mark: where an upright line stands.
    """
    places = [point for line in series for point in line.points]
    left, right = min(place[0] for place in places), max(place[0] for place in places)
    top = highest or max(place[1] for place in places) or 1.0
    axes = _Axes((left, right if right > left else left + 1), (0.0, top))
    parts = axes.frame(x, y)
    for line in series:
        path = " ".join(f"{axes.x(at)},{axes.y(min(value, top))}" for at, value in line.points)
        parts.append(f'<polyline class="line {line.style}" fill="none" stroke="currentColor" points="{path}"/>')
    if mark is not None:
        parts.append(axes.upright(mark))
    return _figure(title, parts, [(line.name, line.style) for line in series])


def histogram(title: str, groups: Sequence[Group], *, x: str, y: str, mark: float) -> str:
    """How many values of each group lie in each twentieth of 0..1; groups are stacked."""
    counts = [_counted(group.values) for group in groups]
    top = max([1, *(sum(column) for column in zip(*counts))])
    axes = _Axes((0.0, 1.0), (0.0, float(top)))
    parts = axes.frame(x, y)
    for place, column in enumerate(zip(*counts)):
        below = 0
        for group, count in zip(groups, column):
            if count:
                left, right = axes.x(place / _BINS) + 1, axes.x((place + 1) / _BINS) - 1
                upper, lower = axes.y(below + count), axes.y(below)
                parts.append(
                    f'<rect class="bar {group.style}" x="{left:.1f}" y="{upper}" width="{right - left:.1f}" '
                    f'height="{lower - upper:.1f}"><title>{_text(group.name)}: {count}</title></rect>'
                )
                below += count
    parts.append(axes.upright(mark))
    return _figure(title, parts, [(group.name, group.style) for group in groups])


def _counted(values: Sequence[float]) -> List[int]:
    counts = [0] * _BINS
    for value in values:
        counts[min(max(int(value * _BINS), 0), _BINS - 1)] += 1
    return counts


def _steps(low: float, high: float) -> List[float]:
    """Round numbers from low to high, about as many as there is room for."""
    span = (high - low) / _TICKS
    size = 10.0 ** len(str(int(span))) if span >= 1 else 1.0
    candidates = [size * factor for factor in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)]
    step = next((step for step in reversed(candidates) if step >= span), candidates[0])
    first = int(-(-low // step))
    return [round(number * step, 6) for number in range(first, int(high / step + 1e-9) + 1)]


def _figure(title: str, parts: Sequence[str], legend: Sequence[Tuple[str, str]]) -> str:
    keys = "".join(f'<span class="key"><i class="{style}"></i>{_text(name)}</span>' for name, style in legend)
    return (
        f'<figure class="chart"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{_text(title)}">'
        f"{''.join(parts)}</svg><figcaption>{keys}</figcaption></figure>"
    )


def _text(text: str) -> str:
    return html.escape(text, quote=True)
