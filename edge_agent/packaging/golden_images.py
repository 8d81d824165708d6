"""Images for a package's self-test, from a directory."""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np
from PIL import Image, ImageOps

from edge_agent.errors import PackageError
from edge_agent.frame import MAX_SIDE, MIN_SIDE
from edge_agent.model.golden import MAX_IMAGES
from edge_agent.model.selftest import GoldenSource

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_PROBE_SIDES = (96, 128)


def read_golden_images(directory: Path) -> List[GoldenSource]:
    """The images of a directory in the order of their names, turned as their EXIF data say.

    Raises:
        PackageError: none, too many, unreadable, or with a side that an Edge Agent would refuse.
    """
    files = image_files(directory)
    if not 1 <= len(files) <= MAX_IMAGES:
        raise PackageError(str(directory), f"holds {len(files)} images; a package carries 1 to {MAX_IMAGES}")
    return [read_image(file) for file in files]


def image_files(directory: Path) -> List[Path]:
    """The images of a directory in the order of their names; PackageError where it cannot be read."""
    try:
        return sorted(file for file in directory.iterdir() if file.suffix.lower() in _SUFFIXES)
    except OSError as error:
        raise PackageError(str(directory), f"cannot be read ({error.strerror})") from error


def probe_images() -> List[GoldenSource]:
    """Images that need nobody to supply them: black, white, and noise."""
    noise = np.random.default_rng(0).integers(0, 256, (*_PROBE_SIDES, 3), dtype=np.uint8)
    flat = [
        GoldenSource(f"a {name} image", np.full_like(noise, level)) for name, level in (("black", 0), ("white", 255))
    ]
    return [*flat, GoldenSource("an image of noise", noise)]


def read_image(file: Path) -> GoldenSource:
    """An image, turned as its EXIF data say.

    Raises:
        PackageError: unreadable, or with a side that an Edge Agent would refuse.
    """
    try:
        with Image.open(file) as image:
            turned = ImageOps.exif_transpose(image)
            assert turned is not None  # noqa: S101 - Pillow means the in-place form
            pixels = np.asarray(turned.convert("RGB"))
    except Exception as error:  # Pillow raises many types for torn files
        raise PackageError(str(file), f"cannot be read as an image ({error})") from error
    height, width = pixels.shape[:2]
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (height, width)):
        raise PackageError(str(file), f"is {width}x{height} pixels; each side must have {MIN_SIDE} to {MAX_SIDE}")
    return GoldenSource(file.stem, pixels)
