"""A lane's own threshold, in place of the one the model was made with."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from edge_agent.detector import Detection
from edge_agent.inspection import score_of

# As the service's runtime compares them (contract section 5.3).
_DIGITS = 4


def judge(detection: Detection, threshold: Optional[float]) -> Detection:
    """The same detection, anomalous from `threshold` on; unchanged without one.

    A model that decides by its mask alone, whatever the score (`score_of`), gets another meaning by this.
    """
    if threshold is None:
        return detection
    score = score_of(detection.confidence, is_anomalous=detection.is_anomalous)
    anomalous = round(score, _DIGITS) >= round(threshold, _DIGITS)
    return replace(detection, is_anomalous=anomalous, confidence=score if anomalous else 1.0 - score)
