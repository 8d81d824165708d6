"""What a model says of labelled images, held against the labels: of any package, and of any Edge Agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.contract import Performance
from edge_agent.errors import TrainingError
from edge_agent.frame import Pixels
from edge_agent.inspection import Anomaly
from edge_agent.model import Model
from edge_agent.training import scores
from edge_agent.training.ground_truth import BACKGROUND, HEX_COLOR, Example
from edge_agent.training.pictures import UNLABELLED, Mask, read_image, read_mask

_WHITE = "#FFFFFF"


@dataclass(frozen=True)
class Answer:
    """What whoever was asked says of one image.

    Attributes:
        is_anomalous: the verdict.
        confidence: 0..1, how sure the verdict is.
        score: of the anomaly; None where it is not told.
        anomalies: classes in the mask with their colours, background among them.
        mask: class colours, RGB888, shape (height, width, 3), of any size; None without one.
    """

    is_anomalous: bool
    confidence: float
    score: Optional[float]
    anomalies: Tuple[Anomaly, ...]
    mask: Optional[Pixels]


#: Asks somebody about an image: RGB888, shape (height, width, 3).
Judge = Callable[[Pixels], Answer]


@dataclass(frozen=True)
class Judged:
    """One image and its verdict; `score` is None where nobody told it."""

    example: Example
    is_anomalous: bool
    confidence: float
    score: Optional[float]

    @property
    def is_mistaken(self) -> bool:
        return self.is_anomalous != self.example.is_anomalous


@dataclass(frozen=True)
class Evaluation:
    """All verdicts.

    Attributes:
        judged: in the order of the images.
        pixels: by true and found class, over the images that have both a labelled and a found mask.
        masks: how many those are.
    """

    judged: Tuple[Judged, ...]
    pixels: scores.PixelConfusion
    masks: int

    @property
    def truth(self) -> scores.Flags:
        return np.array([judged.example.is_anomalous for judged in self.judged], dtype=bool)

    @property
    def found(self) -> scores.Flags:
        return np.array([judged.is_anomalous for judged in self.judged], dtype=bool)

    @property
    def anomaly_scores(self) -> scores.Floats:
        """Of a model that tells them; NaN where it does not."""
        told = [np.nan if judged.score is None else judged.score for judged in self.judged]
        return np.array(told, dtype=np.float64)

    @property
    def performance(self) -> Performance:
        """As the service counted it: anomalous is positive."""
        metrics = scores.verdict_metrics(self.found, self.truth)
        return Performance(metrics["f1"], metrics["recall"], metrics["precision"])

    @property
    def accuracy(self) -> float:
        return scores.verdict_metrics(self.found, self.truth)["accuracy"]

    @property
    def mistakes(self) -> List[Judged]:
        return [judged for judged in self.judged if judged.is_mistaken]

    def confusion(self) -> Dict[str, Dict[str, int]]:
        """Images by their label, and in it by the verdict."""
        found, truth = self.found, self.truth
        return {
            label: {verdict: int((here & there).sum()) for verdict, there in (("anomaly", found), ("normal", ~found))}
            for label, here in (("anomaly", truth), ("normal", ~truth))
        }

    def as_dict(self) -> Dict[str, Any]:
        """For JSON. `Performance` by the service's names; masks are left out where nothing could be compared."""
        document: Dict[str, Any] = {
            "images": len(self.judged),
            "Performance": self.performance.as_dict(),
            "accuracy": self.accuracy,
            "confusion": self.confusion(),
            "mistakes": [
                {
                    "image": str(judged.example.image),
                    "label": _word(judged.example.is_anomalous),
                    "verdict": _word(judged.is_anomalous),
                    "confidence": round(judged.confidence, 4),
                }
                for judged in self.mistakes
            ],
        }
        if self.masks:
            document["mask"] = {
                "images": self.masks,
                "iou": self.pixels.by_class(),
                "iou_of_any_class": self.pixels.of_any_class(),
                "classes": self.pixels.classes,
                "pixels": self.pixels.counts.tolist(),
            }
        return document


def evaluate(
    examples: Sequence[Example],
    classes: Sequence[str],
    judge: Judge,
    report: Callable[[int], None] = lambda _done: None,
) -> Evaluation:
    """Ask about each image and hold the answer against its labels.

    Masks are compared at the size of the image. Classes are the same where their names are; one that only the model
    knows is counted, too. An anomalous image without a mask takes no part in the comparison of masks.

    Args:
        examples: labelled images; at least one.
        classes: of their masks, background first; empty for none.
        judge: is asked.
        report: called with the number of images done, after each.

    Raises:
        TrainingError: an image or mask that cannot be read, or an answer whose mask has colours that it does not name.
    """
    pixels = scores.PixelConfusion(classes or (BACKGROUND,))
    judged: List[Judged] = []
    masks = 0
    for example in examples:
        image = read_image(example)
        answer = judge(image)
        judged.append(Judged(example, answer.is_anomalous, answer.confidence, answer.score))
        if classes and answer.mask is not None:
            truth = read_mask(example, pixels.classes, (image.shape[0], image.shape[1]))
            if UNLABELLED not in truth:
                pixels.add(class_indices(answer, pixels, example, (image.shape[0], image.shape[1])), truth)
                masks += 1
        report(len(judged))
    return Evaluation(tuple(judged), pixels, masks)


def judge_of(model: Model) -> Judge:
    """A model in this process."""

    def judge(image: Pixels) -> Answer:
        verdict = model.detect(image)
        return Answer(verdict.is_anomalous, verdict.confidence, verdict.score, verdict.anomalies, verdict.mask)

    return judge


def class_indices(answer: Answer, pixels: scores.PixelConfusion, example: Example, shape: Tuple[int, int]) -> Mask:
    """The answer's mask as class indices of `pixels`, brought to `shape` (height, width) by its nearest pixels."""
    assert answer.mask is not None  # noqa: S101 - the caller looked
    codes = answer.mask.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    found = np.full(codes.shape, UNLABELLED, dtype=np.uint8)
    found[codes == int(_WHITE[1:], 16)] = 0  # background, unless a class has that colour
    for anomaly in answer.anomalies:
        if not HEX_COLOR.fullmatch(anomaly.hex_color):
            raise TrainingError(str(example.image), f"got the class {anomaly.name} with colour {anomaly.hex_color!r}")
        name = BACKGROUND if anomaly.name.lower() == BACKGROUND else anomaly.name
        found[codes == int(anomaly.hex_color[1:], 16)] = pixels.index(name)
    strange = int(np.count_nonzero(found == UNLABELLED))
    if strange:
        raise TrainingError(
            str(example.image), f"got a mask with {strange} pixels of colours that the answer's classes do not have"
        )
    height, width = answer.mask.shape[:2]
    mask: Mask = found[np.ix_(_nearest(height, shape[0]), _nearest(width, shape[1]))]
    return mask


def _nearest(source: int, target: int) -> npt.NDArray[np.intp]:
    """For each of `target` places the one of `source` places that it lies in."""
    return (2 * np.arange(target) + 1) * source // (2 * target)


def _word(is_anomalous: bool) -> str:  # noqa: FBT001 - a verdict, not a switch
    return "anomaly" if is_anomalous else "normal"
