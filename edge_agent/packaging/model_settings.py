"""What `edge-agent package` is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional, Tuple

from edge_agent.errors import PackageError
from edge_agent.frame import MAX_SIDE
from edge_agent.model.document import NAME, VERSION, Size

#: The heads of a network that is no anomalib export, by the words of the command.
HEADS: Dict[str, Tuple[str, ...]] = {"mask": ("mask",), "class": ("class",), "both": ("mask", "class")}


@dataclass(frozen=True)
class PackageSettings:
    """How to make a package.

    Attributes:
        file: an ONNX file, or an `.xml` of OpenVINO; its weights lie beside it.
        out: the model store: the package is written to out/name.
        name: of the package, as a model component.
        version: of the package, three numbers.
        zipped: write out/name.zip instead of a directory.
        force: replace a package of that name.
        size: (width, height) of the network's input, where the file leaves it open.
        raw_size: (width, height) of the mask; None for the size of each image (anomalib) or of the golden images.
        threshold: of the score; None for one half.
        raw_scores: the export's scores are not scaled to 0..1.
        pixel_threshold: makes the mask from the anomaly map; None for the export's own mask.
        no_mask: report none.
        heads: of a network that is no anomalib export, a key of `HEADS`; None for an anomalib export.
        classes: of the mask, without `background`. An anomalib export has one, `anomaly` unless named here.
        image_classes: of the class head, in the network's order.
        scale: divide pixels by 255.
        normalize: by ImageNet's mean and deviation; None for yes, but no for an anomalib export, which does it itself.
        golden: directory of images for the self-test.
        threads: of the runs that check the package.
    """

    file: Path
    out: Path
    name: str
    version: str = "1.0.0"
    zipped: bool = False
    force: bool = False
    size: Optional[Size] = None
    raw_size: Optional[Size] = None
    threshold: Optional[float] = None
    raw_scores: bool = False
    pixel_threshold: Optional[float] = None
    no_mask: bool = False
    heads: Optional[str] = None
    classes: Tuple[str, ...] = ()
    image_classes: Tuple[str, ...] = ("anomaly", "normal")
    scale: bool = True
    normalize: Optional[bool] = None
    golden: Optional[Path] = None
    threads: int = 1

    @property
    def target(self) -> Path:
        return self.out / (f"{self.name}.zip" if self.zipped else self.name)

    def check(self) -> None:
        """Raises PackageError for the first setting that cannot be."""
        if not NAME.fullmatch(self.name):
            raise PackageError(f"name {self.name!r}", "may hold letters, digits, '_', '.' and '-', at most 128")
        if not VERSION.fullmatch(self.version):
            raise PackageError(f"version {self.version!r}", "is not of the form 1.0.0")
        for key, size in (("size", self.size), ("raw size", self.raw_size)):
            if size is not None and not all(1 <= side <= MAX_SIDE for side in size):
                raise PackageError(f"{key} {size[0]}x{size[1]}", f"needs sides of 1 to {MAX_SIDE} pixels")
        for key, value in (("threshold", self.threshold), ("pixel threshold", self.pixel_threshold)):
            if value is not None and not math.isfinite(value):
                raise PackageError(key, f"is {value}, not a finite number")
        if self.raw_scores and not (self.threshold or 0) > 0:
            raise PackageError("raw scores", "need a threshold of their own, above 0", "Give it with --threshold.")
        if self.no_mask and self.pixel_threshold is not None:
            raise PackageError("pixel threshold", "makes a mask, but there is to be none")
        names = ("background", *self.classes)
        if len(set(names)) != len(names):
            raise PackageError("classes", f"{', '.join(names)} are not all different")
        self._check_kind()

    def _check_kind(self) -> None:
        """Options of the one kind of network that mean nothing for the other are a misunderstanding."""
        if self.heads is None:
            wrong = {
                "--image-class": self.image_classes != ("anomaly", "normal"),
                "--no-scale": not self.scale,
                "more than one --class": len(self.classes) > 1,
            }
            kind = "an anomalib export"
        else:
            wrong = {
                "--raw-scores": self.raw_scores,
                "--pixel-threshold": self.pixel_threshold is not None,
                "--no-mask": self.no_mask,
            }
            kind = f"a network with --heads {self.heads}"
        for option, given in wrong.items():
            if given:
                raise PackageError(option, f"means nothing for {kind}")
