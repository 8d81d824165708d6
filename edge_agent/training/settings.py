"""What a training is asked to do, and what it tells when it is done."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from edge_agent.errors import TrainingError
from edge_agent.model.document import NAME, VERSION
from edge_agent.training.locations import Mapping

#: Sides of the network's input are multiples of this: it halves the image four times.
SIDE_MULTIPLE = 16
_SIDES = (64, 1024)
_LONG_SIDE = 384

#: What may compute.
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        manifest: a Ground Truth manifest.
        out: the model store: the package is written to out/name.
        name: of the package, as a model component: letters, digits, `_`, `.`, `-`.
        version: of the package, three numbers.
        epochs: passes over the training images; None chooses by their number.
        seed: of the split, the first weights and the augmentation.
        holdout: share of the images kept out of the training, 0 to 0.5.
        size: (width, height) of the network's input; None chooses by the images' size.
        threads: of the training.
        force: replace a package of that name.
        device: that computes: "cpu", "cuda", or "auto" for CUDA where there is some.
        resume: go on with a training of the same images and settings that was cut short.
        checkpoint_s: seconds between two states of it that are kept on disk.
        report: the HTML report; None for out/name.html.
        mapped: prefixes of the manifest's references, and the directories that have what is below them.
        s3_cache: where images from S3 are kept; None: they are not fetched.
    """

    manifest: pathlib.Path
    out: pathlib.Path
    name: str
    version: str = "1.0.0"
    epochs: Optional[int] = None
    seed: int = 0
    holdout: float = 0.2
    size: Optional[Tuple[int, int]] = None
    threads: int = 2
    force: bool = False
    device: str = "auto"
    resume: bool = True
    checkpoint_s: float = 5.0
    report: Optional[pathlib.Path] = None
    mapped: Tuple[Mapping, ...] = ()
    s3_cache: Optional[pathlib.Path] = None

    def check(self) -> None:
        """Raises TrainingError for the first setting that cannot be."""
        if not NAME.fullmatch(self.name):
            raise TrainingError(f"name {self.name!r}", "may hold letters, digits, '_', '.' and '-', at most 128")
        if not VERSION.fullmatch(self.version):
            raise TrainingError(f"version {self.version!r}", "is not of the form 1.0.0")
        if self.epochs is not None and self.epochs < 1:
            raise TrainingError("epochs", f"is {self.epochs}, less than 1")
        if not 0 < self.holdout <= 0.5:
            raise TrainingError("holdout", f"is {self.holdout}, not above 0 and at most 0.5")
        if not 0 <= self.seed < 2**32:
            raise TrainingError("seed", f"is {self.seed}, not 0 to 2**32 - 1")
        if self.threads < 1:
            raise TrainingError("threads", f"is {self.threads}, less than 1")
        if self.device not in DEVICES:
            raise TrainingError("device", f"is {self.device!r}, not one of {', '.join(DEVICES)}")
        if self.size and any(side % SIDE_MULTIPLE or not _SIDES[0] <= side <= _SIDES[1] for side in self.size):
            raise TrainingError(
                f"size {self.size[0]}x{self.size[1]}",
                f"needs sides of {_SIDES[0]} to {_SIDES[1]} that are multiples of {SIDE_MULTIPLE}",
            )

    @property
    def package(self) -> pathlib.Path:
        return self.out / self.name

    @property
    def report_file(self) -> pathlib.Path:
        return self.report or self.out / f"{self.name}.html"


@dataclass(frozen=True)
class TrainingResult:
    """What came out: where package and report lie, and the manifest's `performance` and `training`."""

    package: pathlib.Path
    report: pathlib.Path
    performance: Dict[str, Any]
    training: Dict[str, Any]


def input_size(image: Tuple[int, int]) -> Tuple[int, int]:
    """(width, height) of the network's input for images of a size: at most 384 on the long side, the aspect kept."""
    scale = min(1.0, _LONG_SIDE / max(image))
    width, height = (max(_SIDES[0], round(side * scale / SIDE_MULTIPLE) * SIDE_MULTIPLE) for side in image)
    return width, height


def default_epochs(images: int) -> int:
    """Few images are seen more often; the work stays within minutes."""
    return min(max(6000 // max(images, 1), 12), 120)
