"""What an experiment found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List


@dataclass
class Outcome:
    """Figures, and the bars that they had to clear: each a sentence and whether it held."""

    count: int
    figures: Dict[str, Any] = field(default_factory=dict)
    bars: Dict[str, bool] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(self.bars.values())

    def as_dict(self) -> Dict[str, Any]:
        return {"count": self.count, "passed": self.passed, "figures": {**self.figures, "bars": self.bars}}


def quantiles(values: List[float]) -> Dict[str, float]:
    """Of milliseconds or seconds; zeros where there are none."""
    ordered = sorted(values) or [0.0]
    last = len(ordered) - 1
    return {name: round(ordered[int(at * last)], 3) for name, at in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}
