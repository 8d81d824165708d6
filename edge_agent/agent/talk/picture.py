"""A frame as a small JPEG that fits into one message of either nucleus."""

from __future__ import annotations

import base64
import io
from typing import Any, Dict

from PIL import Image

from edge_agent.frame import Pixels

_WIDEST = 480
_QUALITIES = (80, 65, 50, 35, 20)
_SMALLER = 0.75
_SMALLEST = 16


def small_jpeg(pixels: Pixels, most: int) -> Dict[str, Any]:
    """The largest of a few JPEGs whose base64 has at most `most` characters.

    Args:
        pixels: RGB888, (height, width, 3).
        most: characters, some hundreds at least.

    Returns:
        `format`, `width`, `height`, and `base64`.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((_WIDEST, _WIDEST), Image.Resampling.LANCZOS)
    while True:
        for quality in _QUALITIES:
            stream = io.BytesIO()
            image.save(stream, "JPEG", quality=quality, optimize=True)
            text = base64.b64encode(stream.getvalue()).decode("ascii")
            if len(text) <= most or max(image.size) <= _SMALLEST:
                return {"format": "jpeg", "width": image.width, "height": image.height, "base64": text}
        # Below this quality a smaller picture shows more.
        size = (max(1, round(image.width * _SMALLER)), max(1, round(image.height * _SMALLER)))
        image = image.resize(size, Image.Resampling.LANCZOS)
