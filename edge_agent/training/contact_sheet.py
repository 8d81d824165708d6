"""The images that a model gets wrong, and those that it nearly did: as small pictures, with masks drawn over them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from edge_agent.frame import Pixels
from edge_agent.inspection import Anomaly
from edge_agent.model.palette import HEX_COLORS, rgb_table
from edge_agent.overlay import draw_overlay
from edge_agent.training.evaluation import Evaluation, Judge, Judged
from edge_agent.training.pictures import UNLABELLED, read_image, read_mask

#: At most so many mistakes, and so many images that are right by the smallest margin.
MAX_MISTAKES = 40
CLOSE_CALLS = 6

_SIDE = 240
_QUALITY = 82


@dataclass(frozen=True)
class Sheet:
    """One image.

    Attributes:
        name: of its file.
        part: "held out" or "training".
        is_anomalous: the label.
        score: at the threshold's model.
        is_mistaken: or a close call.
        labelled: JPEG of the picture with its labelled mask; None without one.
        found: JPEG of the picture, with the mask that was found where there is one.
    """

    name: str
    part: str
    is_anomalous: bool
    score: float
    is_mistaken: bool
    labelled: Optional[bytes]
    found: bytes


@dataclass(frozen=True)
class ContactSheet:
    """`mistakes` counts all of them, shown or not; entries: mistakes, then close calls."""

    mistakes: int
    entries: Tuple[Sheet, ...]


def contact_sheet(
    held: Evaluation, seen: Evaluation, threshold: float, classes: Sequence[str], judge: Judge
) -> ContactSheet:
    """The mistakes at `threshold`, held-out ones first and worst first, and the closest calls.

    Args:
        held: of the held-out images, with scores.
        seen: of the training images, with scores.
        threshold: that decides.
        classes: of the masks, background first; empty for none.
        judge: gives the masks.
    """
    scored = [(part, judged) for part, all_of in (("held out", held), ("training", seen)) for judged in all_of.judged]
    margins = {id(judged): _margin(judged, threshold) for _, judged in scored}
    wrong = [entry for entry in scored if margins[id(entry[1])] < 0]
    wrong.sort(key=lambda entry: (entry[0] != "held out", margins[id(entry[1])]))
    right = sorted((entry for entry in scored if margins[id(entry[1])] >= 0), key=lambda entry: margins[id(entry[1])])
    shown = [(*entry, True) for entry in wrong[:MAX_MISTAKES]] + [(*entry, False) for entry in right[:CLOSE_CALLS]]
    entries = [_sheet(part, judged, mistaken, classes, judge) for part, judged, mistaken in shown]
    return ContactSheet(len(wrong), tuple(entries))


def _margin(judged: Judged, threshold: float) -> float:
    """How far the score is on the right side of the threshold; below 0 on the wrong one."""
    assert judged.score is not None  # noqa: S101 - a model in this process tells it
    # Four decimals decide (contract section 5.5); a score at the threshold is anomalous.
    above = round(judged.score, 4) - round(threshold, 4)
    if judged.example.is_anomalous:
        return above
    return -above if above < 0 else -max(above, 1e-9)


def _sheet(part: str, judged: Judged, mistaken: bool, classes: Sequence[str], judge: Judge) -> Sheet:  # noqa: FBT001 - a field
    example = judged.example
    assert judged.score is not None  # noqa: S101 - see _margin
    image = read_image(example)
    answer = judge(image)
    found = image if answer.mask is None else draw_overlay(image, answer.mask, answer.anomalies)
    labelled = None
    if example.mask is not None and classes:
        labelled = _jpeg(_with_label(image, read_mask(example, classes, (image.shape[0], image.shape[1])), classes))
    return Sheet(example.image.name, part, example.is_anomalous, judged.score, mistaken, labelled, _jpeg(found))


def _with_label(image: Pixels, indices: Pixels, classes: Sequence[str]) -> Pixels:
    colors = rgb_table()
    mask: Pixels = colors[np.where(indices == UNLABELLED, 0, indices)]
    return draw_overlay(image, mask, [Anomaly(name, 0.0, HEX_COLORS[place]) for place, name in enumerate(classes)])


def _jpeg(pixels: Pixels) -> bytes:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_SIDE, _SIDE))
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=_QUALITY)
    return target.getvalue()
