"""From the outputs of an anomalib export to a verdict: score, mask, areas, confidence (docs/anomalib.md).

The export normalises its input and, as a rule, its scores by itself; what is left is small.
"""

from __future__ import annotations

import math
from typing import Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.errors import EngineError
from edge_agent.frame import Pixels
from edge_agent.inspection import Anomaly
from edge_agent.model.anomalib_stage import ANOMALY_MAP, RAW
from edge_agent.model.engine import Result
from edge_agent.model.manifest import Manifest
from edge_agent.model.palette import HEX_COLORS
from edge_agent.model.postprocess import DECIMALS, MaskPainter
from edge_agent.model.verdict import StageTimings, Verdict


class AnomalibPostprocessor:
    """The post-processing of one export. Not thread-safe: it owns its buffers."""

    def __init__(self, manifest: Manifest) -> None:
        self._stage = manifest.stage
        self._keys = manifest.stage.anomalib
        self._names = manifest.pixel_class_names
        self._reports_mask = manifest.reports_mask
        self._pixel_threshold = np.float32(self._keys.pixel_threshold or 0.0)
        self._painter: Optional[Tuple[Tuple[int, ...], Tuple[int, int], MaskPainter]] = None

    def run(self, outputs: Sequence[Result], mask_out: Optional[Pixels] = None) -> Verdict:
        """Decide. Timings are zero here; the model fills them in.

        Args:
            outputs: the heads in the order of `engine.expected_heads`: the one with the score, then the one with the
                mask where that is another.
            mask_out: where to put the coloured mask, and so its size: uint8, C-contiguous, (height, width, 3). Not
                needed for a model that reports no mask.

        Raises:
            EngineError: the outputs hold what is no number.
        """
        score = self._score(outputs[0])
        anomalies: Tuple[Anomaly, ...] = ()
        mask: Optional[Pixels] = None
        if self._reports_mask and mask_out is not None:
            indices = self._indices(outputs[-1])
            painter = self._painter_of(indices.shape, (mask_out.shape[0], mask_out.shape[1]))
            mask = painter.paint(indices, mask_out)
            areas = painter.areas(indices, len(self._names))
            anomalies = tuple(
                Anomaly(name, area, color) for name, area, color in zip(self._names, areas, HEX_COLORS) if area > 0
            )
        threshold = self._stage.threshold
        is_anomalous = round(score, DECIMALS) >= round(threshold, DECIMALS)
        share = self._share(score)
        return Verdict(
            is_anomalous=is_anomalous,
            confidence=share if is_anomalous else 1.0 - share,
            score=score,
            threshold=threshold,
            anomalies=anomalies,
            mask=mask,
            timings=StageTimings(0.0, 0.0, 0.0),
        )

    def _score(self, output: Result) -> float:
        # A map's score is its largest value, as anomalib has it; a score or a label is its only one.
        score = float(output.max())
        if not math.isfinite(score):
            raise EngineError("model", f"gave the score {score}, which is no number")
        return score

    def _share(self, score: float) -> float:
        """The score on a scale of 0..1: raw ones are put there with their threshold at one half."""
        if self._keys.score_kind == RAW:
            score /= 2 * self._stage.threshold
        return min(max(score, 0.0), 1.0)

    def _indices(self, output: Result) -> npt.NDArray[np.uint8]:
        """Class index of each pixel, shape (h, w): 1 where the export sees the anomaly."""
        plane = output.reshape(output.shape[-2:])
        if self._keys.mask_from == ANOMALY_MAP:
            if np.isnan(plane.min()):
                raise EngineError("model", "gave an anomaly map with values that are no numbers")
            # Strictly above, as anomalib's own pred_mask has it.
            anomalous = np.greater(plane, self._pixel_threshold)
        else:
            anomalous = np.not_equal(plane, 0)
        return anomalous.view(np.uint8)

    def _painter_of(self, small: Tuple[int, ...], large: Tuple[int, int]) -> MaskPainter:
        """The painter for these sizes, kept until they change; a camera's images have one size."""
        if self._painter is None or self._painter[:2] != (small, large):
            self._painter = small, large, MaskPainter((small[0], small[1]), large)
        return self._painter[2]
