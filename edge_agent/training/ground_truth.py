"""SageMaker Ground Truth manifests as Lookout for Vision used them: one JSON object a line.

Each line has `source-ref`, an image label (metadata of type groundtruth/image-classification) and, for a segmentation
model, a mask (metadata of type groundtruth/semantic-segmentation) whose `internal-color-map` names the classes.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from edge_agent.errors import TrainingError
from edge_agent.training.locations import Locations

Color = Tuple[int, int, int]

BACKGROUND = "background"
WHITE: Color = (255, 255, 255)

_IMAGE_LABEL = "groundtruth/image-classification"
_PIXEL_LABEL = "groundtruth/semantic-segmentation"
_METADATA = "-metadata"
_COLOR_MAP = "internal-color-map"

#: How a colour is written.
HEX_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Example:
    """One labelled image.

    Attributes:
        place: manifest and line, for messages.
        image: the file.
        is_anomalous: the image label.
        mask: the file, or None where the line has none.
        mask_key: the manifest's key of the mask, for messages.
        colors: colours of the mask by class name; `background` among them, white where the map does not say.
    """

    place: str
    image: pathlib.Path
    is_anomalous: bool
    mask: Optional[pathlib.Path]
    mask_key: str
    colors: Dict[str, Color]

    def fail(self, key: str, reason: str, remedy: str = "") -> TrainingError:
        return TrainingError(f"{self.place}: {key}", reason, remedy)


@dataclass(frozen=True)
class LabelledSet:
    """All lines of a manifest.

    Attributes:
        classes: names of the pixel classes, `background` first; empty where no line has a mask.
    """

    manifest: pathlib.Path
    examples: Tuple[Example, ...]
    classes: Tuple[str, ...]


def read_ground_truth(manifest: pathlib.Path, locations: Optional[Locations] = None) -> LabelledSet:
    """Read and check a manifest; images and masks are only looked for, or fetched, not opened.

    Args:
        manifest: the file.
        locations: where its references lead; None: to files, relative ones beside the manifest.

    Raises:
        TrainingError: naming the line and the key: no JSON, a label that is missing or unclear, a missing file, the
            same image twice, or no line at all.
        MissingExtraError: a file lies in S3 and boto3 is not installed.
    """
    locations = locations or Locations(manifest.parent)
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(str(manifest), f"cannot be read ({error})") from error
    examples: List[Example] = []
    first_seen: Dict[pathlib.Path, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        example = _Line(f"{manifest}, line {number}", locations, line).example()
        if example.image in first_seen:
            raise example.fail(
                "source-ref",
                f"repeats the image of {first_seen[example.image]}",
                "An image that is listed twice could be trained on and tested on: keep one line.",
            )
        first_seen[example.image] = f"line {number}"
        examples.append(example)
    if not examples:
        raise TrainingError(str(manifest), "holds no lines")
    return LabelledSet(manifest, tuple(examples), _class_names(examples))


def manifest_digest(manifest: pathlib.Path) -> str:
    """SHA-256 of a manifest, by which a package knows what it was trained on; raises TrainingError for what is gone."""
    try:
        return hashlib.sha256(manifest.read_bytes()).hexdigest()
    except OSError as error:
        raise TrainingError(str(manifest), f"cannot be read ({error.strerror})") from error


def _class_names(examples: List[Example]) -> Tuple[str, ...]:
    """Every class of every mask, in the order of first appearance."""
    names = dict.fromkeys(name for example in examples for name in example.colors if name != BACKGROUND)
    return (BACKGROUND, *names) if names else ()


class _Line:
    """One line of a manifest, on its way to an example."""

    def __init__(self, place: str, locations: Locations, text: str) -> None:
        self._place = place
        self._locations = locations
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TrainingError(place, f"is not JSON ({error})") from error
        if not isinstance(entry, dict):
            raise TrainingError(place, "is not a JSON object")
        self._entry: Dict[str, Any] = entry

    def example(self) -> Example:
        image = self._file("source-ref")
        mask_key = self._attribute(_PIXEL_LABEL)
        is_anomalous = self._label()
        mask, colors = None, {}
        if mask_key is not None and mask_key in self._entry:
            mask = self._file(mask_key)
            colors = self._colors(mask_key + _METADATA)
        return Example(self._place, image, is_anomalous, mask, mask_key or "", colors)

    def _fail(self, key: str, reason: str, remedy: str = "") -> TrainingError:
        return TrainingError(f"{self._place}: {key}", reason, remedy)

    def _attribute(self, kind: str) -> Optional[str]:
        """The key whose metadata has the type `kind`; Ground Truth names it after the labelling job."""
        keys = [
            key[: -len(_METADATA)]
            for key, value in self._entry.items()
            if key.endswith(_METADATA) and isinstance(value, dict) and value.get("type") == kind
        ]
        if len(keys) > 1:
            raise self._fail(keys[1], f"is a second attribute of type {kind}, beside {keys[0]}", "Keep one of them.")
        return keys[0] if keys else None

    def _label(self) -> bool:
        key = self._attribute(_IMAGE_LABEL)
        if key is None:
            raise TrainingError(self._place, f"has no image label (metadata of type {_IMAGE_LABEL})", "Label it first.")
        name = str(self._entry[key + _METADATA].get("class-name", "")).lower()
        if name in ("normal", "anomaly"):
            return name == "anomaly"
        value = self._entry.get(key)
        if isinstance(value, bool) or value not in (0, 1):
            raise self._fail(
                key,
                f"is {value!r} with class-name {name!r}",
                "Use class-name normal or anomaly, or the labels 0 and 1.",
            )
        return bool(value)

    def _file(self, key: str) -> pathlib.Path:
        value = self._entry.get(key)
        if not isinstance(value, str) or not value:
            raise self._fail(key, "is missing")
        try:
            return self._locations.file(value)
        except TrainingError as error:
            raise self._fail(key, f"{error.subject!r} {error.reason}", error.remedy) from error

    def _colors(self, key: str) -> Dict[str, Color]:
        table = self._entry[key].get(_COLOR_MAP)
        if not isinstance(table, dict) or not table:
            raise self._fail(key, f"has no {_COLOR_MAP}")
        colors: Dict[str, Color] = {BACKGROUND: WHITE}
        for index, entry in table.items():
            place = f"{key}.{_COLOR_MAP}.{index}"
            name = entry.get("class-name") if isinstance(entry, dict) else None
            if not isinstance(name, str) or not name:
                raise self._fail(place, "has no class-name")
            text = str(entry.get("hex-color", ""))
            if not HEX_COLOR.fullmatch(text):
                raise self._fail(place, f"has hex-color {text!r}, not #RRGGBB")
            color = (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))
            name = BACKGROUND if name.lower() == BACKGROUND else name
            if any(other == color for other_name, other in colors.items() if other_name != name):
                raise self._fail(place, f"has hex-color {text}, the colour of another class")
            colors[name] = color
        return colors
