"""What runs the network of a stage: one small protocol, so that engines can be exchanged, and what networks must have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, NamedTuple, Optional, Protocol, Sequence, Tuple

import numpy.typing as npt

from edge_agent.errors import EngineError
from edge_agent.frame import MAX_SIDE
from edge_agent.model.anomalib_stage import ANOMALIB, ANOMALY_MAP, ONE_IMAGE, PRED_LABEL, PRED_MASK, PRED_SCORE
from edge_agent.model.manifest import Manifest

#: An input as `Stage.network_input` has it.
Tensor = npt.NDArray[Any]

#: An output as the engine gives it: float32, but a label or a mask may be of truth values or integers.
Result = npt.NDArray[Any]

_FLOAT32 = ("float32",)
_FLOATS = ("float16", "float32", "float64")
_FLAGS = ("bool", "int8", "uint8", "int32", "int64")


class Engine(Protocol):
    """A loaded model. Not thread-safe."""

    @property
    def output_shapes(self) -> Tuple[Tuple[int, ...], ...]:
        """Shape of each output that the manifest calls for, in the order of `expected_heads`."""

    @property
    def backend(self) -> str:
        """What runs the model, for people to read: "ONNX Runtime 1.31.1, cpu"."""

    def run(self, tensor: Tensor) -> Sequence[Result]:
        """Those outputs for an input of the manifest's shape; they may be overwritten by the next run.

        Raises:
            EngineError: the engine failed, or changed the shape of its outputs.
        """

    @property
    def failure(self) -> Optional[str]:
        """Why it can never run again, such as a process that died; None as long as it can. Quick, from any thread."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Port:
    """An input or output that a network has.

    Attributes:
        names: one as a rule; OpenVINO can give one output several.
        kind: numpy's name of its numbers.
        shape: what is no integer there is a size that is known only when the network has run.
    """

    names: Tuple[str, ...]
    kind: str
    shape: Sequence[object]

    def __str__(self) -> str:
        return f"{' or '.join(self.names) or 'unnamed'} {self.kind} {describe(self.shape)}"


class Network(NamedTuple):
    """What a network's file says of it."""

    inputs: List[Port]
    outputs: List[Port]


@dataclass(frozen=True)
class Head:
    """An output that the manifest calls for.

    Attributes:
        name: for messages; in an anomalib export it is the output's own.
        shapes: any of these; None in one stands for a size that the model chooses.
        kinds: any of these, by numpy's names.
    """

    name: str
    shapes: Tuple[Tuple[Optional[int], ...], ...]
    kinds: Tuple[str, ...] = _FLOAT32

    def fits(self, shape: Sequence[object]) -> bool:
        """Whether an output shape can be this head; what is no integer there (a symbolic size) fits anything."""
        return any(_fits(shape, wanted) for wanted in self.shapes)

    def __str__(self) -> str:
        return f"{self.name} {' or '.join(describe(shape) for shape in self.shapes)}"


def expected_heads(manifest: Manifest) -> List[Head]:
    """The outputs that the manifest calls for.

    `mochi`: all that the network has, in its order: mask 1 x C x H x W, then class 1 x C, as far as their heads are
    enabled. `anomalib`: by name, the one that holds the score, then the one that holds the mask where that is another.
    """
    stage = manifest.stage
    if stage.type == ANOMALIB:
        names = dict.fromkeys((stage.anomalib.score_from, stage.anomalib.mask_from))
        return [_ANOMALIB_HEADS[name] for name in names if name is not None]
    heads = []
    if stage.segmentation_head_enabled:
        heads.append(Head("mask", ((1, len(manifest.pixel_class_names) or None, None, None),)))
    if stage.classification_head_enabled:
        heads.append(Head("class", ((1, len(manifest.image_class_names)),)))
    return heads


def choose_outputs(subject: str, manifest: Manifest, outputs: Sequence[Port]) -> List[int]:
    """Where the outputs that the manifest calls for lie among those that a network has, in the order of the heads.

    Raises:
        EngineError: they are not there, or not as the manifest says.
    """
    heads = expected_heads(manifest)
    places = list(range(len(outputs)))
    if manifest.stage.type == ANOMALIB:
        by_name = {name: place for place, output in enumerate(outputs) for name in output.names}
        missing = [head.name for head in heads if head.name not in by_name]
        if missing:
            found = ", ".join(map(str, outputs)) or "none"
            raise EngineError(subject, f"has no output {missing[0]!r}, which its manifest calls for; found {found}")
        places = [by_name[head.name] for head in heads]
    check_outputs(subject, manifest, [outputs[place].shape for place in places])
    for head, place in zip(heads, places):
        output = outputs[place]
        if output.kind not in head.kinds:
            raise EngineError(subject, f"its output {head.name!r} is {output.kind}, not {' or '.join(head.kinds)}")
    return places


def check_outputs(subject: str, manifest: Manifest, shapes: Sequence[Sequence[object]]) -> None:
    """Raise EngineError, saying expected and found, unless outputs of these shapes are the manifest's heads."""
    heads = expected_heads(manifest)
    if len(shapes) != len(heads) or not all(head.fits(shape) for head, shape in zip(heads, shapes)):
        expected = ", ".join(str(head) for head in heads)
        found = ", ".join(describe(shape) for shape in shapes)
        raise EngineError(subject, f"its outputs do not fit its manifest: expected {expected}; found {found}")


def check_input(subject: str, manifest: Manifest, inputs: Sequence[Port]) -> Port:
    """The one input of a network; what its shape leaves open is taken to be what the manifest says.

    Raises:
        EngineError: more than one, or another type or shape than the manifest's.
    """
    stage = manifest.stage
    wanted, kind = stage.network_input
    if len(inputs) == 1 and inputs[0].kind == kind and _fits(inputs[0].shape, wanted):
        return inputs[0]
    found = ", ".join(f"{entry.kind} {describe(entry.shape)}" for entry in inputs)
    frozen = stage.type == ANOMALIB and len(inputs) == 1 and is_frozen(inputs[0])
    raise EngineError(
        subject,
        f"its input does not fit its manifest: expected {kind} {describe(wanted)}; found {found}",
        f"It takes more than one image at a time. {ONE_IMAGE}" if frozen else "",
    )


def is_frozen(entry: Port) -> bool:
    """Whether an input takes a fixed number of images, and not one."""
    batch = entry.shape[0] if entry.shape else None
    return isinstance(batch, int) and batch != 1


def describe(shape: Sequence[object]) -> str:
    return f"[{', '.join('?' if side is None else str(side) for side in shape)}]"


def _fits(shape: Sequence[object], wanted: Tuple[Optional[int], ...]) -> bool:
    return len(shape) == len(wanted) and all(
        not isinstance(found, int) or (found == side if side is not None else 1 <= found <= MAX_SIDE)
        for found, side in zip(shape, wanted)
    )


_ONE_VALUE = ((1, 1), (1,), ())
_ONE_MAP = ((1, 1, None, None), (1, None, None))
_ANOMALIB_HEADS = {
    PRED_SCORE: Head(PRED_SCORE, _ONE_VALUE, _FLOATS),
    PRED_LABEL: Head(PRED_LABEL, _ONE_VALUE, _FLAGS),
    ANOMALY_MAP: Head(ANOMALY_MAP, _ONE_MAP, _FLOATS),
    PRED_MASK: Head(PRED_MASK, _ONE_MAP, _FLAGS),
}
