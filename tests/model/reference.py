"""The contract's arithmetic (sections 5.4 and 5.5), literal and slow: what `edge_agent.model` is measured against.

Written from the contract alone; it shares no code with the package. OpenCV's resize is the contract's own definition
of the two resizes, so it is used for those and for nothing else.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional, Tuple

import cv2
import numpy as np

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# The documented head of the palette.
PALETTE = [
    "#FFFFFF", "#23A436", "#14A3B3", "#F76902", "#9380FF", "#BD10E0", "#467CE6",
    "#A09308", "#0094BD", "#CC7700", "#5856D6", "#D61CB0", "#007AFF", "#8A6E00",
    "#2CA02C", "#3182BD", "#E6550D", "#8269FF", "#FF2EDC", "#2532EA", "#7C9F1E",
]  # fmt: skip


def preprocess(pixels: np.ndarray, stage: Dict[str, Any]) -> np.ndarray:
    size = (stage["image_width"], stage["image_height"])
    image = cv2.resize(pixels, size, interpolation=stage.get("interpolation", cv2.INTER_AREA))
    if image.ndim == 2:
        image = np.stack([image, image, image], axis=2)
    image = image[:, :, :3]
    tensor = np.zeros((1, 3, size[1], size[0]), dtype=np.float32)
    for channel in range(3):
        values = image[:, :, channel].astype(np.float32)
        if stage["image_range_scale"]:
            values = values / np.float32(255.0)
        if stage["normalize"]:
            values = (values - np.float32(MEAN[channel])) / np.float32(STD[channel])
        tensor[0, channel] = values
    return tensor


Found = List[Tuple[str, float, str]]


def postprocess(
    outputs: List[np.ndarray], stage: Dict[str, Any], pixel_names: List[str]
) -> Tuple[bool, float, float, Found, Optional[np.ndarray]]:
    """Returns is_anomalous, confidence, score, [(name, area, hex colour)], mask (RGB)."""
    score = score_of(outputs, stage)
    found: Found = []
    mask = None
    by_mask = False
    if stage["segmentation_head_enabled"] and pixel_names:
        index_mask = index_mask_of(outputs[0][0], stage, len(pixel_names))
        palette = np.array([[int(h[i : i + 2], 16) for i in (1, 3, 5)] for h in PALETTE], dtype=np.uint8)
        mask = palette[index_mask]
        for index, name in enumerate(pixel_names):
            pixels = int((index_mask == index).sum())
            if pixels > 0:
                found.append((name, pixels / index_mask.size, PALETTE[index]))
                by_mask = by_mask or index not in stage["seg_normal_ids"]
    by_score = not round(score, 4) < round(stage["threshold"], 4)
    anomalous = {
        None: by_score,
        "cls_head": by_score,
        "seg_head": by_mask,
        "cls_and_seg": by_score and by_mask,
        "cls_or_seg": by_score or by_mask,
    }[stage.get("classification_logic")]
    confidence = min(1.0, max(0.0, score))
    return anomalous, confidence if anomalous else 1 - confidence, score, found, mask


def score_of(outputs: List[np.ndarray], stage: Dict[str, Any]) -> float:
    if stage["classification_head_enabled"]:
        score = 0.0
        for index, probability in enumerate(outputs[-1][0]):
            if index not in stage["class_normal_ids"]:
                score += float(probability)
    else:
        score = float(np.asarray(outputs[0], dtype=np.float64).mean())
    if stage.get("calibrated"):
        if stage.get("max_val_score", 1.0) > 1:
            score = score / stage["max_val_score"]
        score = 1.0 / (1.0 + math.exp(stage["calibrator_scaling"] * score + stage["calibrator_shift"]))
    return score


def index_mask_of(output: np.ndarray, stage: Dict[str, Any], classes: int) -> np.ndarray:
    probabilities = np.array(output, dtype=np.float32)
    for channel in range(classes):
        if channel not in stage["seg_normal_ids"]:
            probabilities[channel] += np.float32(stage.get("seg_recall_bias", 0.0))
    index_mask = probabilities.argmax(axis=0).astype(np.int32)
    height, width = stage["raw_image_shape"]
    enlarged: np.ndarray = cv2.resize(index_mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return enlarged
