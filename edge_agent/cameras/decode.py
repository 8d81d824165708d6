"""Image files to RGB888, by Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

import numpy as np
from PIL import Image, ImageOps

from edge_agent.cameras.base import Reserve, size_problem
from edge_agent.errors import EdgeAgentError, ImageError
from edge_agent.frame import Pixels

#: File name endings taken for images.
SUFFIXES: Tuple[str, ...] = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
    *(".jp2", ".j2k", ".jpx", ".pgm", ".ppm", ".pnm", ".pbm"),
)

# What Pillow may take a file for, whatever it is called. It knows more, and some of that it gives to other programs.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM")

# Grey of 16 bits: Pillow's name depends on its version and on the byte order of the file.
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def decode_image(path: Path, reserve: Reserve) -> Pixels:
    """Decode the file into the view (height, width, 3) uint8 RGB that `reserve(height, width)` gives.

    EXIF orientation is applied. Grey becomes three equal channels, palettes their colours, alpha is left out, 16-bit
    samples keep their upper 8 bits. Of several pictures in a file the first is taken.

    Raises:
        ImageError: missing, empty, torn, no image, 32-bit samples, or a side outside 64..4096 pixels.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            _check_size(path, image.size)
            file_format = image.format
            ImageOps.exif_transpose(image, in_place=True)
            rgb = _to_rgb(path, image, file_format)
            pixels = reserve(rgb.height, rgb.width)
            pixels[...] = np.asarray(rgb)
            return pixels
    except EdgeAgentError:
        raise
    except FileNotFoundError as error:
        raise ImageError(str(path), "does not exist", "Check the path.") from error
    except Exception as error:  # Pillow's decoders raise nearly every kind of exception on torn files
        raise ImageError(str(path), f"is not a readable image ({_why(path, error)})", "Replace the file.") from error


def _check_size(path: Path, size: Tuple[int, int]) -> None:
    problem = size_problem(*size)
    if problem:
        raise ImageError(str(path), problem, "Crop or scale the image before it is inspected.")


def _to_rgb(path: Path, image: Image.Image, file_format: Optional[str]) -> Image.Image:
    if image.mode == "RGB":
        return image
    # Pillow opens 16-bit grey of these formats, which know nothing wider, as 32-bit integers, or did so once.
    if image.mode in _SIXTEEN_BIT or (image.mode == "I" and file_format in ("PNG", "PPM")):
        samples = np.asarray(image).astype(np.uint32)
        return Image.fromarray((samples >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ImageError(str(path), "has 32-bit samples, whose scale is not known", "Save it with 8 or 16 bits.")
    return image.convert("RGB")


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    try:
        if path.stat().st_size == 0:
            return "it is empty"
    except OSError:
        return "it is gone"
    # Pillow's own message repeats the path, which the error names already.
    return "no known image format" if "cannot identify" in str(error) else " ".join(str(error).split())
