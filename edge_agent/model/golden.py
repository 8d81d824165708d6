"""Golden images: what a package says its model answers to images that it carries (docs/model-package.md).

The manifest's `package.golden` lists them; `selftest.py` asks the model. A score, and areas where there is a mask, are
compared within a tolerance, because another processor rounds otherwise.
"""

from __future__ import annotations

import math
import re
from itertools import chain, count
from typing import Dict, Iterator, Optional, Sequence, Set, Tuple

import msgspec

#: Where the images lie in the package.
DIRECTORY = "golden"

#: Bounds of what a package may ask of whoever loads it.
MAX_IMAGES = 16
MAX_IMAGE_BYTES = 64 * 1024 * 1024

#: Differences between processors were seen up to some 1e-5 of the score; eight-bit models may differ by 1e-2.
DEFAULT_TOLERANCE = 0.01
#: Of the mask's pixels: a few pixels on the edges of regions may change their class.
DEFAULT_AREA_TOLERANCE = 0.002

_FILE = re.compile(DIRECTORY + r"/[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\.png")


class GoldenImage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image and what the model answers to it.

    Attributes:
        file: `golden/NAME.png`, eight bits, RGB or grey.
        score: as `Verdict.score`.
        is_anomalous: the verdict, where it is far enough from the threshold to be the same everywhere.
        areas: of all classes in the mask, by name, fractions 0..1; a class that is not named has none.
    """

    file: str
    score: float
    is_anomalous: Optional[bool] = None
    areas: Optional[Dict[str, float]] = None


class Golden(msgspec.Struct, frozen=True, omit_defaults=True):
    """The images of a package. A score may differ by `tolerance` times the larger of 1 and the score expected."""

    images: Tuple[GoldenImage, ...] = ()
    tolerance: float = DEFAULT_TOLERANCE
    area_tolerance: float = DEFAULT_AREA_TOLERANCE

    def allowed(self, score: float) -> float:
        """How far from an expected score the score found may lie."""
        return self.tolerance * max(1.0, abs(score))


def new_file(name: str, taken: Sequence[str]) -> str:
    """A place for an image of that name (a file's stem), as the manifest may name it and none of `taken`."""
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".-")[:100] or "image"
    places = (f"{DIRECTORY}/{stem}{suffix}.png" for suffix in chain([""], (f"-{number}" for number in count(2))))
    return next(place for place in places if place not in taken)


def find_fault(golden: Golden, classes: Sequence[str]) -> Optional[Tuple[str, str]]:
    """What is wrong with the list, as (key path below `package.golden`, reason).

    Args:
        golden: as the manifest gives it.
        classes: the classes of the mask; empty for a model that reports none.
    """
    return next(_faults(golden, classes), None)


def _faults(golden: Golden, classes: Sequence[str]) -> Iterator[Tuple[str, str]]:
    for key in ("tolerance", "area_tolerance"):
        value = getattr(golden, key)
        if not 0 <= value <= 1:
            yield f".{key}", f"is {value}, not 0 to 1"
    if len(golden.images) > MAX_IMAGES:
        yield ".images", f"holds {len(golden.images)} images; at most {MAX_IMAGES} are allowed"
    files: Set[str] = set()
    for place, image in enumerate(golden.images):
        key = f".images[{place}]"
        if not _FILE.fullmatch(image.file):
            yield f"{key}.file", f"is {image.file!r}, not of the form {DIRECTORY}/NAME.png"
        if image.file in files:
            yield f"{key}.file", f"is {image.file!r}, which is listed twice"
        files.add(image.file)
        if not math.isfinite(image.score):
            yield f"{key}.score", f"is {image.score}, not a finite number"
        yield from ((f"{key}.areas", reason) for reason in _wrong_areas(image.areas or {}, classes))


def _wrong_areas(areas: Dict[str, float], classes: Sequence[str]) -> Iterator[str]:
    for name, area in areas.items():
        if name not in classes:
            yield f"names {name!r}, which is no class of the model's mask"
        if not 0 <= area <= 1:
            yield f"gives {name!r} {area}, not 0 to 1"
