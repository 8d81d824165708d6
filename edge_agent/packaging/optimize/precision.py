"""Fewer bits: 16 for accelerators, 8 by what the tensors hold when the network looks at images."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

from edge_agent.errors import EdgeAgentError, EngineError
from edge_agent.model.engine import Tensor
from edge_agent.packaging.optimize import graph

#: Convolutions are where the time goes. What decides in the end (a fully connected layer, a softmax) keeps its bits.
_EIGHT_BIT = ["Conv", "Add", "Relu", "MaxPool", "MatMul"]
# ONNX Runtime 1.19 trips over one that was not observed; so they are, and left out of what is converted.
_OBSERVED = "Softmax"
_PER_CHANNEL_SINCE = 13


def to_fp16(model: Any, subject: str) -> Any:
    """Weights and arithmetic in 16 bits; inputs and outputs stay as they are.

    Raises:
        EngineError: the network cannot be converted.
    """
    with _own_path():
        from onnxruntime.transformers.float16 import convert_float_to_float16
    try:
        return convert_float_to_float16(model, keep_io_types=True)
    except Exception as error:  # the converter states no types of its own
        raise EngineError(subject, f"cannot be converted to 16 bits ({type(error).__name__}: {error})") from error


def to_int8(model: Any, tensors: Iterator[Tensor], subject: str, *, gpu: bool) -> Any:
    """Static quantisation, operators between QuantizeLinear and DequantizeLinear as all runtimes take them.

    Args:
        model: that takes float32.
        tensors: its input for typical images, one after the other.
        subject: what errors name.
        gpu: the target is an NVIDIA accelerator: TensorRT takes symmetric numbers alone. Processors without VNNI
            saturate where weights have more than seven bits, so that those are the form for all processors.

    Raises:
        EngineError: the network cannot be quantised.
        EdgeAgentError: what `tensors` raises.
    """
    with _own_path():
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc] # it has no types
        def get_next(self) -> Optional[Dict[str, Tensor]]:
            tensor = next(tensors, None)
            return None if tensor is None else {model.graph.input[0].name: tensor}

    with tempfile.TemporaryDirectory(prefix="edge-agent-int8-") as temporary, _quiet():
        source, target = Path(temporary, "float.onnx"), Path(temporary, "int8.onnx")
        left_out = graph.name_nodes(model, _OBSERVED)
        graph.write_graph(model, source)
        try:
            quantize_static(
                str(source),
                str(target),
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*_EIGHT_BIT, _OBSERVED],
                nodes_to_exclude=left_out,
                per_channel=graph.opset(model) >= _PER_CHANNEL_SINCE,
                reduce_range=not gpu,
                activation_type=QuantType.QInt8 if gpu else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": gpu, "WeightSymmetric": True},
            )
        except EdgeAgentError:  # an image that cannot be read
            raise
        except Exception as error:  # as in to_fp16
            raise EngineError(subject, f"cannot be quantised ({type(error).__name__}: {error})") from error
        return graph.read_graph(target, subject)


@contextlib.contextmanager
def _own_path() -> Iterator[None]:
    """Their import puts directories of theirs on the search path, whose modules would hide others of the same names."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser gives advice in the root logger that was followed already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
