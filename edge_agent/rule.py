"""Which parts something acts on: an output, or the recorder."""

from __future__ import annotations

from typing import Literal, Tuple

from edge_agent.config import Settings
from edge_agent.inspection import BACKGROUND, Inspection


class RuleSettings(Settings, frozen=True):
    """A part meets the rule when it meets all of it.

    Attributes:
        verdict: `all`, `normal`, `anomalous`, or `uncertain`: either verdict with a confidence below `uncertain_below`.
        classes: at least one of these classes was found; an empty list: whichever.
        min_area: fraction of the image, 0 to 1, that the classes found (of `classes`, where given) cover together at
            least.
        min_confidence: of the verdict, 0 to 1, at least.
        uncertain_below: confidence, 0 to 1, below which a verdict is uncertain.
    """

    verdict: Literal["all", "normal", "anomalous", "uncertain"] = "all"
    classes: Tuple[str, ...] = ()
    min_area: float = 0.0
    min_confidence: float = 0.0
    uncertain_below: float = 0.75

    def __post_init__(self) -> None:
        for name in ("min_area", "min_confidence", "uncertain_below"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be 0 to 1")
        if self.verdict == "normal" and (self.classes or self.min_area):
            raise ValueError("`classes` and `min_area` have no place with the verdict `normal`")

    def is_met_by(self, inspection: Inspection) -> bool:
        """Whether the part of this inspection meets the rule."""
        if self.verdict in ("normal", "anomalous") and inspection.is_anomalous != (self.verdict == "anomalous"):
            return False
        if self.verdict == "uncertain" and inspection.confidence >= self.uncertain_below:
            return False
        if inspection.confidence < self.min_confidence:
            return False
        if not self.classes and not self.min_area:
            return True
        areas = [
            anomaly.area
            for anomaly in inspection.anomalies
            if (anomaly.name in self.classes if self.classes else anomaly.name != BACKGROUND)
        ]
        return bool(areas) and sum(areas) >= self.min_area

    def is_met_without_verdict(self) -> bool:
        """Whether a part that nobody judged meets the rule, when it is taken as anomalous, of any class and area."""
        return self.verdict != "normal"
