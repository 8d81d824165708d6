"""From the model's outputs to a verdict (contract section 5.5, `mochi`): score, mask, areas, confidence.

The mask is coloured at the model's size and the colours are then enlarged (nearest neighbour), which gives the same
bits as enlarging the class indices and colouring those, for a small part of the work. Areas come from the small mask
and from how often each of its rows and columns appears in the large one, which OpenCV's own resize tells.
"""

from __future__ import annotations

import math
from typing import List, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.errors import EngineError, MissingExtraError
from edge_agent.frame import CHANNELS, Pixels
from edge_agent.inspection import Anomaly
from edge_agent.model.engine import Tensor
from edge_agent.model.manifest import Manifest
from edge_agent.model.palette import HEX_COLORS, rgb_table
from edge_agent.model.verdict import StageTimings, Verdict

try:
    import cv2
except ImportError as error:
    raise MissingExtraError("opencv-python-headless", "server") from error

#: Scores and thresholds are compared at this precision.
DECIMALS = 4

_FOUR = CHANNELS + 1


class Postprocessor:
    """The post-processing of one model. Not thread-safe: it owns its buffers.

    Args:
        manifest: of the model.
        mask_shape: (height, width) of the model's mask output, or None where it has none.
    """

    def __init__(self, manifest: Manifest, mask_shape: Optional[Tuple[int, int]]) -> None:
        self._manifest = manifest
        self._stage = manifest.stage
        self._normal_classes = frozenset(manifest.class_normal_ids)
        self._normal_labels = frozenset(manifest.seg_normal_ids)
        self._painter: Optional[MaskPainter] = None
        if manifest.mask_size is not None and mask_shape is not None:
            self._painter = MaskPainter(mask_shape, manifest.mask_size)

    def run(self, outputs: Sequence[Tensor], mask_out: Optional[Pixels] = None) -> Verdict:
        """Decide. Timings are zero here; the model fills them in.

        Args:
            outputs: the enabled heads in order: mask (1, C, h, w) probabilities, then class (1, C) probabilities.
            mask_out: where to put the coloured mask: uint8, C-contiguous, shape (*manifest.mask_size, 3).

        Raises:
            EngineError: the outputs hold what is no number.
        """
        stage = self._stage
        score = self._score(outputs)
        labels: Tuple[Anomaly, ...] = ()
        mask: Optional[Pixels] = None
        has_anomalous_label = False
        if self._painter is not None:
            indices = self._classify_pixels(outputs[0][0])
            mask = self._painter.paint(indices, mask_out)
            areas = self._painter.areas(indices, len(self._manifest.pixel_class_names))
            names = self._manifest.pixel_class_names
            labels = tuple(
                Anomaly(names[index], area, HEX_COLORS[index]) for index, area in enumerate(areas) if area > 0
            )
            has_anomalous_label = any(area > 0 and index not in self._normal_labels for index, area in enumerate(areas))
        is_anomalous = round(score, DECIMALS) >= round(stage.threshold, DECIMALS)
        is_anomalous = _combine(stage.classification_logic, is_anomalous, has_anomalous_label)
        clipped = min(max(score, 0.0), 1.0)
        return Verdict(
            is_anomalous=is_anomalous,
            confidence=clipped if is_anomalous else 1.0 - clipped,
            score=score,
            threshold=stage.threshold,
            anomalies=labels,
            mask=mask,
            timings=StageTimings(0.0, 0.0, 0.0),
        )

    def _score(self, outputs: Sequence[Tensor]) -> float:
        stage = self._stage
        if stage.classification_head_enabled:
            probabilities = outputs[-1][0].tolist()
            score = math.fsum(p for index, p in enumerate(probabilities) if index not in self._normal_classes)
        else:
            score = float(np.mean(outputs[0], dtype=np.float64))
        if not math.isfinite(score):
            raise EngineError("model", f"gave the score {score}, which is no probability")
        return calibrate(self._manifest, score) if stage.calibrated else score

    def _classify_pixels(self, mask: Tensor) -> npt.NDArray[np.uint8]:
        """Index of the largest channel per pixel, the first of equals: argmax, but several times faster."""
        bias = np.float32(self._stage.seg_recall_bias or 0.0)
        best = self._channel(mask, 0, bias)
        indices = np.zeros(best.shape, dtype=np.uint8)
        for channel in range(1, mask.shape[0]):
            values = self._channel(mask, channel, bias)
            larger = np.greater(values, best)
            # Later channels have larger indices, so the maximum keeps the last one that was strictly larger.
            np.maximum(indices, larger.view(np.uint8) * np.uint8(channel), out=indices)
            best = np.maximum(best, values)
        if np.isnan(best.min()):
            raise EngineError("model", "gave a mask with values that are no numbers")
        return indices

    def _channel(self, mask: Tensor, channel: int, bias: np.float32) -> Tensor:
        values: Tensor = mask[channel]
        if not bias or channel in self._normal_labels:
            return values
        biased: Tensor = values + bias
        return biased


def calibrate(manifest: Manifest, score: float) -> float:
    """Platt scaling with scikit-learn's signs, 1 / (1 + exp(a * s + b)), after scaling by a largest score above 1."""
    stage = manifest.stage
    if stage.max_val_score is not None and stage.max_val_score > 1:
        score /= stage.max_val_score
    assert stage.calibrator_scaling is not None  # noqa: S101 - the manifest's checks
    assert stage.calibrator_shift is not None  # noqa: S101 - the manifest's checks
    exponent = stage.calibrator_scaling * score + stage.calibrator_shift
    # One form for each sign: neither can overflow.
    if exponent >= 0:
        small = math.exp(-exponent)
        return small / (1.0 + small)
    return 1.0 / (1.0 + math.exp(exponent))


def _combine(logic: Optional[str], by_score: bool, by_mask: bool) -> bool:  # noqa: FBT001 - two verdicts, not switches
    if logic == "seg_head":
        return by_mask
    if logic == "cls_and_seg":
        return by_score and by_mask
    if logic == "cls_or_seg":
        return by_score or by_mask
    return by_score


class MaskPainter:
    """Colours a small mask of class indices and enlarges it; counts the areas it will have. It owns its buffers."""

    def __init__(self, small: Tuple[int, int], large: Tuple[int, int]) -> None:
        (height, width), (self._height, self._width) = small, large
        # Four bytes a pixel: OpenCV enlarges those, and takes the fourth away again, sooner than it enlarges three.
        palette = np.zeros((256, _FOUR), dtype=np.uint8)
        palette[: len(HEX_COLORS), :CHANNELS] = rgb_table()
        self._palette = palette.view(np.int32).reshape(1, 256)
        self._colours = np.empty((height, width), dtype=np.int32)
        self._enlarged = np.empty((height, self._width, _FOUR), dtype=np.uint8)
        self._wide = np.empty((height, self._width, CHANNELS), dtype=np.uint8)
        # Which small row each large row repeats, and how often each small row and column appears.
        self._rows = _enlarged_ramp(height, self._height).astype(np.intp)
        columns = _enlarged_ramp(width, self._width)
        self._row_weights = np.bincount(self._rows, minlength=height).astype(np.float64)
        self._column_weights = np.bincount(columns, minlength=width).astype(np.float32)

    def paint(self, indices: npt.NDArray[np.uint8], out: Optional[Pixels]) -> Pixels:
        if out is None:
            out = np.empty((self._height, self._width, CHANNELS), dtype=np.uint8)
        cv2.LUT(indices, self._palette, dst=self._colours)
        colours = self._colours.view(np.uint8).reshape(*indices.shape, _FOUR)
        # Enlarging the rows by OpenCV and repeating them by numpy is twice as fast as OpenCV for both.
        size = (self._width, indices.shape[0])
        cv2.resize(colours, size, dst=self._enlarged, interpolation=cv2.INTER_NEAREST)
        cv2.cvtColor(self._enlarged, cv2.COLOR_RGBA2RGB, dst=self._wide)
        np.take(self._wide, self._rows, axis=0, out=out, mode="clip")  # clip: the mode that writes straight into `out`
        return out

    def areas(self, indices: npt.NDArray[np.uint8], classes: int) -> List[float]:
        """Fraction of the large mask by class index. The counts are exact: sums of a row stay below 2 ** 24."""
        total = self._height * self._width
        counts = [0.0] * classes
        for index in range(1, int(indices.max()) + 1):
            found = indices == index
            if found.any():
                # Not `@`: the BLAS of numpy 1.24 has a thread on each core, which waits actively for more.
                per_row = np.einsum("yx,x->y", found.astype(np.float32), self._column_weights)
                counts[index] = float(np.einsum("y,y->", per_row.astype(np.float64), self._row_weights))
        counts[0] = total - sum(counts)
        return [count / total for count in counts]


def _enlarged_ramp(small: int, large: int) -> npt.NDArray[np.int32]:
    """The source position of each position after OpenCV's nearest-neighbour resize of one axis."""
    ramp = np.arange(small, dtype=np.int32).reshape(1, small)
    enlarged: npt.NDArray[np.int32] = cv2.resize(ramp, (large, 1), interpolation=cv2.INTER_NEAREST)
    return enlarged.reshape(large)
