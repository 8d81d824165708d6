"""The arithmetic of anomalib exports as docs/anomalib.md has it, literal and slow; it shares no code with the package.

OpenCV's resize is the definition of the two resizes, as in `reference.py`.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import cv2
import numpy as np

Found = List[Tuple[str, float, str]]

WHITE, GREEN = (255, 255, 255), (0x23, 0xA4, 0x36)


def preprocess(pixels: np.ndarray, stage: Dict[str, Any]) -> np.ndarray:
    size = (stage["image_width"], stage["image_height"])
    image = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    tensor = np.zeros((1, 3, size[1], size[0]), dtype=np.float32)
    for channel in range(3):
        tensor[0, channel] = image[:, :, channel].astype(np.float32) / np.float32(255.0)
    return tensor


def postprocess(
    outputs: Dict[str, np.ndarray], stage: Dict[str, Any], names: List[str], image: Tuple[int, int]
) -> Tuple[bool, float, float, Found, Optional[np.ndarray]]:
    """Returns is_anomalous, confidence, score, [(name, area, hex colour)], mask (RGB)."""
    keys = stage["anomalib"]
    values = outputs[keys["score_from"]]
    score = max(float(value) for value in values.reshape(-1))
    anomalous = not round(score, 4) < round(stage["threshold"], 4)
    share = score / (2 * stage["threshold"]) if keys["score_kind"] == "raw" else score
    share = min(1.0, max(0.0, share))

    found: Found = []
    mask = None
    if keys.get("mask_from"):
        output = outputs[keys["mask_from"]]
        small = np.zeros(output.shape[-2:], dtype=np.int32)
        for place in np.ndindex(*small.shape):
            value = output.reshape(small.shape)[place]
            if keys["mask_from"] == "pred_mask":
                small[place] = 1 if value else 0
            else:
                small[place] = 1 if value > np.float32(keys["pixel_threshold"]) else 0
        height, width = stage.get("raw_image_shape") or image
        large = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
        mask = np.zeros((height, width, 3), dtype=np.uint8)
        for index, color in enumerate((WHITE, GREEN)):
            mask[large == index] = color
            pixels = int((large == index).sum())
            if pixels:
                found.append((names[index], pixels / large.size, "#{:02X}{:02X}{:02X}".format(*color)))
    return anomalous, share if anomalous else 1 - share, score, found, mask
