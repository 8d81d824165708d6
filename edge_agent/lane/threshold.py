"""A lane's own threshold, in place of the one the model was made with."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from edge_agent.detector import Detection

# As the service's runtime compares them (contract section 5.3).
_DIGITS = 4


def judge(detection: Detection, threshold: Optional[float]) -> Detection:
    """The same detection, anomalous from `threshold` on; unchanged without one.

    The score is the confidence of an anomalous verdict, and 1 - confidence of a normal one. A model that decides by its
    mask alone, whatever the score, gets another meaning by this.
    """
    if threshold is None:
        return detection
    score = detection.confidence if detection.is_anomalous else 1.0 - detection.confidence
    anomalous = round(score, _DIGITS) >= round(threshold, _DIGITS)
    return replace(detection, is_anomalous=anomalous, confidence=score if anomalous else 1.0 - score)
