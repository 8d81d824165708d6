"""The self-test of a loaded model: it looks at the golden images of its package and must see what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from edge_agent.errors import EngineError, PackageError, SelfTestError
from edge_agent.frame import MAX_SIDE, MIN_SIDE, Pixels
from edge_agent.model.golden import DIRECTORY, MAX_IMAGE_BYTES, Golden, GoldenImage, new_file
from edge_agent.model.model import Model
from edge_agent.model.package import ModelPackage
from edge_agent.model.verdict import Verdict

_MODES = ("RGB", "L")


def self_test(model: Model, package: ModelPackage) -> None:
    """Have the model look at the golden images of its package; nothing to do where it carries none.

    Args:
        model: loaded from `package`.
        package: still open.

    Raises:
        SelfTestError: the model answers otherwise; names the first such image, expected, found and difference.
        PackageError: a golden image is missing, outside of the package, too large, or no PNG of 8 bits.
    """
    golden = package.manifest.package.golden
    failures: List[SelfTestError] = []
    for expected in golden.images:
        pixels = read_golden(package, expected)
        subject = f"{package.name}: golden image {expected.file}"
        try:
            verdict = model.detect(pixels)
        except EngineError as error:
            raise SelfTestError(subject, f"the model gave no answer ({error})") from error
        reason = difference(golden, expected, verdict)
        if reason:
            failures.append(SelfTestError(subject, reason))
    if failures:
        first = failures[0]
        count = f"{len(failures)} of {len(golden.images)} golden images differ"
        raise SelfTestError(first.subject, f"{first.reason} ({count})", "Load this package elsewhere, or make it anew.")


class GoldenSource(NamedTuple):
    """An image for a package to carry: RGB888, (height, width, 3), uint8, and what its file is to be called."""

    name: str
    pixels: Pixels


def record_golden(model: Model, directory: Path, sources: Sequence[GoldenSource]) -> Golden:
    """Write golden images into a package directory, with what the model says of them now.

    A verdict is listed only where it rests on the score alone and the score is more than the tolerance away from the
    threshold: elsewhere another processor may well decide otherwise.

    Args:
        model: the package's own, loaded.
        directory: of the package; `golden/` is made in it.
        sources: at most golden.MAX_IMAGES.

    Returns:
        The manifest's `package.golden`.

    Raises:
        EngineError: the model does not answer.
        OSError: the place cannot be written.
    """
    from PIL import Image

    target = directory / DIRECTORY
    target.mkdir(exist_ok=True)
    images: List[GoldenImage] = []
    for source in sources:
        file = new_file(source.name, [image.file for image in images])
        Image.fromarray(source.pixels).save(directory / file, "PNG")
        images.append(expectation(model, source.pixels, file))
    return Golden(images=tuple(images))


def expectation(model: Model, pixels: Pixels, file: str) -> GoldenImage:
    """What the model says of an image now, as a package lists it."""
    verdict = model.detect(pixels)
    stage = model.manifest.stage
    certain = abs(verdict.score - stage.threshold) > Golden().allowed(verdict.score)
    by_score = stage.classification_logic in (None, "", "cls_head")
    return GoldenImage(
        file=file,
        score=round(verdict.score, 6),
        is_anomalous=verdict.is_anomalous if certain and by_score else None,
        areas=_areas(verdict) if model.manifest.reports_mask else None,
    )


def read_golden(package: ModelPackage, image: GoldenImage) -> Pixels:
    """A golden image: RGB888, (height, width, 3), uint8.

    Raises:
        PackageError: it is missing, outside of the package, too large, or no PNG of 8 bits.
    """
    return _read(package.file(image.file), f"{package.path}: {image.file}")


def _areas(verdict: Verdict) -> Dict[str, float]:
    return {anomaly.name: round(anomaly.area, 6) for anomaly in verdict.anomalies}


def difference(golden: Golden, expected: GoldenImage, verdict: Verdict) -> str:
    """What the model sees otherwise than expected, in one clause; nothing where it agrees."""
    apart = abs(verdict.score - expected.score)
    allowed = golden.allowed(expected.score)
    if apart > allowed:
        return (
            f"expected the score {expected.score:g}, found {verdict.score:.6g}: "
            f"a difference of {apart:.3g} where {allowed:g} is allowed"
        )
    if expected.is_anomalous is not None and verdict.is_anomalous is not expected.is_anomalous:
        words = {True: "anomalous", False: "normal"}
        return (
            f"expected {words[expected.is_anomalous]}, found {words[verdict.is_anomalous]}: "
            f"score {verdict.score:.6g} (expected {expected.score:g}), threshold {verdict.threshold:g}"
        )
    if expected.areas is not None:
        found = _areas(verdict)
        for name in sorted({*found, *expected.areas}):
            wanted, area = expected.areas.get(name, 0.0), found.get(name, 0.0)
            if abs(area - wanted) > golden.area_tolerance:
                return (
                    f"expected {wanted:g} of the mask to be {name!r}, found {area:g}: "
                    f"a difference of {abs(area - wanted):.3g} where {golden.area_tolerance:g} is allowed"
                )
    return ""


def _read(path: Path, subject: str) -> Pixels:
    """RGB888 of a golden image; size and form are judged before a pixel is decoded."""
    from PIL import Image  # the server reads its images without it

    if path.stat().st_size > MAX_IMAGE_BYTES:
        raise PackageError(subject, f"is larger than {MAX_IMAGE_BYTES} bytes")
    try:
        with Image.open(path, formats=["PNG"]) as image:
            reason = _refusal(image.size, image.mode)
            if not reason:
                return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises many types for torn files
        raise PackageError(subject, f"cannot be read as a PNG ({error})") from error
    raise PackageError(subject, reason)


def _refusal(size: Tuple[int, int], mode: str) -> str:
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        return f"has {size[0]}x{size[1]} pixels; each side must have {MIN_SIDE} to {MAX_SIDE}"
    return "" if mode in _MODES else f"is a PNG of mode {mode}, not {' or '.join(_MODES)}"
