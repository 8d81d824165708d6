"""From scores and truth to numbers: precision, recall, F1, AUROC, IoU, and the threshold."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

#: Thresholds keep four decimals, the precision at which scores are compared, and stay clear of 0 and 1.
DECIMALS = 4
_LOWEST, _HIGHEST = 0.01, 0.99


def image_metrics(scores: Floats, truth: Flags, threshold: float) -> Dict[str, float]:
    """The same as `verdict_metrics` for the verdicts `score >= threshold`, at four decimals."""
    return verdict_metrics(np.round(scores, DECIMALS) >= round(threshold, DECIMALS), truth)


def verdict_metrics(found: Flags, truth: Flags) -> Dict[str, float]:
    """Precision, recall, F1 and accuracy of verdicts, at four decimals; 0 where there is nothing to divide by."""
    both = int((found & truth).sum())
    precision = both / max(int(found.sum()), 1)
    recall = both / max(int(truth.sum()), 1)
    f1 = 2 * both / max(int(found.sum()) + int(truth.sum()), 1)
    accuracy = float((found == truth).mean())
    return {name: round(value, 4) for name, value in _named(precision, recall, f1, accuracy)}


def _named(precision: float, recall: float, f1: float, accuracy: float) -> List[Tuple[str, float]]:
    return [("precision", precision), ("recall", recall), ("f1", f1), ("accuracy", accuracy)]


def auroc(scores: Floats, truth: Flags) -> Optional[float]:
    """How often an anomalous image scores above a normal one, ties counted half; None where one kind is missing."""
    bad, good = scores[truth], scores[~truth]
    if not (len(bad) and len(good)):
        return None
    above = (bad[:, None] > good[None]).mean() + 0.5 * (bad[:, None] == good[None]).mean()
    return round(float(above), 4)


def choose_threshold(held_scores: Floats, held_truth: Flags, train_scores: Floats, train_truth: Flags) -> float:
    """The threshold with the best F1 on the held-out images.

    A few held-out images leave a wide choice; among the best, the one that also does best on all images together is
    taken, and of those the one in the middle of the widest gap between scores, in log-odds.
    """
    scores = np.concatenate([held_scores, train_scores])
    truth = np.concatenate([held_truth, train_truth])
    ends = np.log([_LOWEST / (1 - _LOWEST), _HIGHEST / (1 - _HIGHEST)])
    clipped = np.clip(scores, _LOWEST, _HIGHEST)
    odds = np.unique(np.concatenate([ends, np.log(clipped / (1 - clipped))]))
    best = (-1.0, -1.0, -1.0)
    threshold = 0.5
    for low, high in zip(odds, odds[1:]):
        candidate = round(1 / (1 + math.exp(-(low + high) / 2)), DECIMALS)
        rank = (
            image_metrics(held_scores, held_truth, candidate)["f1"],
            image_metrics(scores, truth, candidate)["f1"],
            float(high - low),
        )
        if rank > best:
            best, threshold = rank, candidate
    return threshold


class PixelConfusion:
    """Pixels by the class they have and the class that was found, pooled over images.

    Args:
        classes: names, background first; others may come in later.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self._counts = np.zeros((len(classes), len(classes)), dtype=np.int64)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Row: the true class; column: the one found."""
        return self._counts

    def index(self, name: str) -> int:
        """Of a class; one that is not known yet is appended."""
        if name not in self.classes:
            self.classes.append(name)
            self._counts = np.pad(self._counts, (0, 1))
        return self.classes.index(name)

    def add(self, found: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> None:
        """Count one image; both are class indices of the same shape."""
        size = len(self.classes)
        pairs = truth.astype(np.intp) * size + found
        self._counts += np.bincount(pairs.reshape(-1), minlength=size * size).reshape(size, size)

    def by_class(self) -> Dict[str, Optional[float]]:
        """Intersection over union by class name, background left out; None for a class that nobody saw."""
        both = np.diagonal(self._counts)
        either = self._counts.sum(axis=0) + self._counts.sum(axis=1) - both
        return {name: _share(both[index], either[index]) for index, name in enumerate(self.classes) if index}

    def of_any_class(self) -> Optional[float]:
        """The same for all classes but background taken as one; None where nobody saw any."""
        return _share(self._counts[1:, 1:].sum(), self._counts.sum() - self._counts[:1, :1].sum())


def _share(part: Any, whole: Any) -> Optional[float]:
    return round(float(part / whole), 4) if whole else None
