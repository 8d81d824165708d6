"""What a model says about one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Tuple

from edge_agent.frame import Pixels
from edge_agent.inspection import Anomaly


@dataclass(frozen=True)
class StageTimings:
    """Milliseconds by stage of one detection, on the monotonic clock."""

    preprocess: float
    inference: float
    postprocess: float


@dataclass(frozen=True)
class Verdict:
    """The answer of a model.

    Attributes:
        is_anomalous: the image-level verdict.
        confidence: how sure the verdict is, 0..1: the score of an anomalous image, 1 - score of a normal one.
        score: the anomaly score after calibration, as the model gave it, not rounded and not clipped.
        threshold: the score from which on an image is anomalous; both are compared at four decimals.
        anomalies: classes present in the mask by index, background first; empty without a mask.
        mask: class colours as RGB, shape (height, width, 3), uint8, or None for a model without a mask.
        timings: by stage.
    """

    is_anomalous: bool
    confidence: float
    score: float
    threshold: float
    anomalies: Tuple[Anomaly, ...]
    mask: Optional[Pixels] = field(repr=False)
    timings: StageTimings
