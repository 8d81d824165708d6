"""What is done to the graph of an ONNX network, without a change of what it says.

The graphs are those of the `onnx` package; each function changes the one that it is given.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Iterable, List, Sequence, Set

import msgspec
import numpy as np

from edge_agent.errors import EngineError, MissingExtraError
from edge_agent.frame import CHANNELS
from edge_agent.model.manifest import MOCHI, Stage
from edge_agent.model.onnx_session import write_simplified
from edge_agent.model.preprocess import MEAN, STD

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise MissingExtraError("onnx", "packaging") from error

#: Larger networks are kept as they are: one file of theirs may have 2 GiB.
MAX_BYTES = 1_900_000_000

_PIXELS = "edge_agent_pixels"
_LEVELS = 255
_NORMALIZE = (("Sub", MEAN), ("Div", STD))
_CHANNELWISE_SINCE = 13  # before this opset Softmax took all axes from its own on together
_REMOVED_INPUTS_SINCE = 4  # IR version from which on weights need not be inputs too


def read_graph(artifact: Path, subject: str) -> Any:
    """The network with the weights that lie beside it.

    Raises:
        EngineError: it cannot be read.
    """
    try:
        return onnx.load(str(artifact))
    except Exception as error:  # protobuf's and onnx's errors share no base but Exception
        raise EngineError(subject, f"cannot be read ({type(error).__name__})") from error


def write_graph(model: Any, artifact: Path) -> None:
    """In one file, weights included."""
    onnx.save(model, str(artifact))


def settle_input(model: Any, shape: Sequence[int]) -> None:
    """Write the input's shape where the graph leaves it open; weights are no inputs."""
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, _REMOVED_INPUTS_SINCE)
    for side, size in zip(graph.input[0].type.tensor_type.shape.dim, shape):
        side.dim_value = size
    del graph.value_info[:]  # what was inferred from the open shape


def keep_outputs(model: Any, names: Iterable[str]) -> None:
    """Drop the outputs that nobody asks for; what they alone needed goes when the graph is simplified."""
    wanted = set(names)
    kept = [output for output in model.graph.output if output.name in wanted]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def bare_mask(model: Any, stage: Stage) -> bool:
    """Leave out the softmax of the mask where only the largest class of each pixel counts; says whether it did.

    The largest probability is that of the largest logit. Where two differ by less than a float32 of theirs can say, the
    probabilities are equal and the first class would be taken, here the larger one.
    """
    graph = model.graph
    both = stage.type == MOCHI and stage.segmentation_head_enabled and stage.classification_head_enabled
    if not both or stage.seg_recall_bias or opset(model) < _CHANNELWISE_SINCE or _has_subgraphs(graph):
        return False
    mask = graph.output[0]
    makers = [node for node in graph.node if mask.name in node.output]
    if not makers or makers[0].op_type != "Softmax" or makers[0].domain not in {"", "ai.onnx"}:
        return False
    (softmax,) = makers
    axis = next((attribute.i for attribute in softmax.attribute if attribute.name == "axis"), -1)
    logits = softmax.input[0]
    used = any(mask.name in node.input for node in graph.node)
    if axis not in {1, -3} or used or logits in {entry.name for entry in (*graph.output, *graph.input)}:
        return False
    graph.node.remove(softmax)
    mask.name = logits
    return True


def simplify(model: Any, subject: str) -> Any:
    """The graph after ONNX Runtime's basic optimisations, which every runtime of the format can read.

    Constants are computed, normalisations go into convolutions, unused nodes go. Gives the graph as it was where they
    would bring in operators that it did not have.

    Raises:
        EngineError: ONNX Runtime does not take it.
    """
    with tempfile.TemporaryDirectory(prefix="edge-agent-simplify-") as temporary:
        before, after = Path(temporary, "before.onnx"), Path(temporary, "after.onnx")
        onnx.save(model, str(before))
        write_simplified(subject, before, after)
        simple = onnx.load(str(after))
    if not _domains(simple.graph) <= _domains(model.graph):
        return model
    imports = [entry for entry in simple.opset_import if _plain(entry.domain) in _domains(simple.graph) | {""}]
    del simple.opset_import[:]
    simple.opset_import.extend(imports)
    simple.ir_version = model.ir_version
    return simple


def fold_pixels(model: Any, stage: Stage) -> None:
    """Have the network take the pixels of the resized image: uint8, (1, height, width, 3), RGB.

    The arithmetic is that of `Preprocessor` operation by operation, in float32, so its results are the same bits.
    """
    graph = model.graph
    entry = graph.input[0]
    shape, _ = replace_pixels(stage).network_input
    nodes: List[Any] = []
    source = _PIXELS
    steps: List[Any] = [("Cast", None, {"to": TensorProto.FLOAT}), ("Transpose", None, {"perm": [0, 3, 1, 2]})]
    if stage.image_range_scale:
        steps.append(("Div", np.float32(_LEVELS), {}))
    if stage.normalize:
        steps.extend((operator, values.reshape(1, CHANNELS, 1, 1), {}) for operator, values in _NORMALIZE)
    for number, (operator, constant, attributes) in enumerate(steps):
        target = entry.name if number == len(steps) - 1 else f"{_PIXELS}_{number}"
        inputs = [source]
        if constant is not None:
            inputs.append(f"{_PIXELS}_by_{number}")
            graph.initializer.append(numpy_helper.from_array(np.asarray(constant), inputs[-1]))
        nodes.append(helper.make_node(operator, inputs, [target], name=f"{_PIXELS}_{operator}_{number}", **attributes))
        source = target
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(_PIXELS, TensorProto.UINT8, list(shape)))


def replace_pixels(stage: Stage) -> Stage:
    """The stage of a network that takes pixels."""
    return msgspec.structs.replace(stage, takes_pixels=True)


def name_nodes(model: Any, kind: str) -> List[str]:
    """Give all nodes of an operator names of their own; gives those."""
    nodes = [node for node in model.graph.node if node.op_type == kind]
    for number, node in enumerate(nodes):
        node.name = f"edge_agent_{kind}_{number}"
    return [node.name for node in nodes]


def opset(model: Any) -> int:
    """Version of the default operator set."""
    return next((int(entry.version) for entry in model.opset_import if not _plain(entry.domain)), 0)


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _domains(graph: Any) -> Set[str]:
    """Of all operators."""
    found = {_plain(node.domain) for node in graph.node}
    for inner in _subgraphs(graph):
        found |= _domains(inner)
    return found


def _has_subgraphs(graph: Any) -> bool:
    return any(True for _ in _subgraphs(graph))


def _subgraphs(graph: Any) -> Iterable[Any]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs
