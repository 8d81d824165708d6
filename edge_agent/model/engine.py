"""What runs the compiled model of a stage: one small protocol, so that engines can be exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Protocol, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.errors import EngineError
from edge_agent.frame import MAX_SIDE
from edge_agent.model.manifest import Manifest

Tensor = npt.NDArray[np.float32]


class Engine(Protocol):
    """A loaded model. Not thread-safe."""

    @property
    def output_shapes(self) -> Tuple[Tuple[int, ...], ...]:
        """Shape of each output, in order."""

    def run(self, tensor: Tensor) -> List[Tensor]:
        """Outputs for an input of the manifest's shape; they may be overwritten by the next run.

        Raises:
            EngineError: the engine failed, or changed the shape of its outputs.
        """

    @property
    def failure(self) -> Optional[str]:
        """Why it can never run again, such as a process that died; None as long as it can. Quick, from any thread."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Head:
    """An output that the manifest calls for. None in `shape` stands for a size that the model chooses."""

    name: str
    shape: Tuple[Optional[int], ...]

    def fits(self, shape: Sequence[object]) -> bool:
        """Whether an output shape can be this head; what is no integer there (a symbolic size) fits anything."""
        return len(shape) == len(self.shape) and all(
            not isinstance(found, int) or (found == wanted if wanted is not None else 1 <= found <= MAX_SIDE)
            for found, wanted in zip(shape, self.shape)
        )

    def __str__(self) -> str:
        return f"{self.name} {describe(self.shape)}"


def expected_heads(manifest: Manifest) -> List[Head]:
    """The outputs in order: mask 1 x C x H x W, then class 1 x C, as far as their heads are enabled."""
    heads = []
    if manifest.stage.segmentation_head_enabled:
        heads.append(Head("mask", (1, len(manifest.pixel_class_names) or None, None, None)))
    if manifest.stage.classification_head_enabled:
        heads.append(Head("class", (1, len(manifest.image_class_names))))
    return heads


def check_outputs(subject: str, manifest: Manifest, shapes: Sequence[Sequence[object]]) -> None:
    """Raise EngineError, saying expected and found, unless the outputs fit the manifest."""
    heads = expected_heads(manifest)
    if len(shapes) != len(heads) or not all(head.fits(shape) for head, shape in zip(heads, shapes)):
        expected = ", ".join(str(head) for head in heads)
        found = ", ".join(describe(shape) for shape in shapes)
        raise EngineError(subject, f"its outputs do not fit its manifest: expected {expected}; found {found}")


def describe(shape: Sequence[object]) -> str:
    return f"[{', '.join('?' if side is None else str(side) for side in shape)}]"
