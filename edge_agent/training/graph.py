"""The trained network as an ONNX file, written operator by operator.

PyTorch's own exporters change from release to release; this graph is the same from each of them, loads on the oldest
supported ONNX Runtime and has the batch normalisations folded into the convolutions.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_agent.training import network

#: Old enough for every runtime in use, ONNX Runtime 1.19.2 and TensorRT 8.2 among them; new enough for all that is used.
OPSET = 13
IR_VERSION = 8

_INPUT = "input"


def build_graph(net: network.InspectionNet, width: int, height: int) -> bytes:
    """Serialise `net` for one input size.

    Returns:
        An ONNX model: input `input` (1, 3, height, width) float32, normalised as the package's manifest says; outputs
        `mask` (1, classes, height/2, width/2), the probabilities of the pixel classes, where the network has a mask
        head, and `class` (1, 2), the probabilities of anomaly and normal.
    """
    graph = _Graph()
    encoder = net.encoder
    half = graph.block(encoder.stem, _INPUT)
    quarter = graph.residual(encoder.stage1, graph.block(encoder.down1, half))
    eighth = graph.residual(encoder.stage2, graph.block(encoder.down2, quarter))
    sixteenth = graph.block(encoder.down3, eighth)
    for stage in encoder.stage3:
        sixteenth = graph.residual(stage, sixteenth)
    outputs = []
    if net.mask is None:
        odds = _pooled_odds(graph, net.image, sixteenth)
    else:
        logits = _mask_logits(graph, net.mask, (half, quarter, eighth, sixteenth))
        classes = net.mask.logits.out_channels
        graph.node("Softmax", [logits], name="mask", axis=1)
        outputs.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, classes, height // 2, width // 2]))
        odds = _evidence_odds(graph, net.image, logits)
    anomaly = graph.node("Sigmoid", [odds])
    normal = graph.node("Sigmoid", [graph.node("Neg", [odds])])
    graph.node("Concat", [anomaly, normal], name="class", axis=1)
    outputs.append(helper.make_tensor_value_info("class", TensorProto.FLOAT, [1, 2]))
    inputs = [helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, [1, 3, height, width])]
    return graph.serialise(inputs, outputs)


def _mask_logits(graph: _Graph, head: network.MaskHead, maps: Tuple[str, str, str, str]) -> str:
    half, quarter, eighth, x = maps
    for merge, fine in ((head.merge3, eighth), (head.merge2, quarter), (head.merge1, half)):
        coarse = graph.double(graph.conv(merge.narrow, x))
        x = graph.block(merge.refine, graph.node("Add", [fine, coarse]))
    return graph.conv(head.logits, x)


def _evidence_odds(graph: _Graph, head: network.EvidenceHead, logits: str) -> str:
    background, anomalies = graph.split(logits, head_size=1)
    anomalies = graph.node("ReduceLogSumExp", [anomalies], axes=[1], keepdims=1)
    odds = graph.node("Sub", [anomalies, background])
    limits = [graph.constant(np.float32(limit)) for limit in (-network.LIMIT, network.LIMIT)]
    odds = graph.node("Clip", [odds, *limits])
    peaks = []
    for window in network.WINDOWS:
        pads = [window // 2] * 4
        local = odds if window == 1 else graph.node("AveragePool", [odds], kernel_shape=[window, window], pads=pads)
        peaks.append(graph.node("GlobalMaxPool", [local]))
    return graph.linear(head.weigh, graph.node("Concat", peaks, axis=1))


def _pooled_odds(graph: _Graph, head: network.PooledHead, sixteenth: str) -> str:
    pooled = [graph.node("GlobalAveragePool", [sixteenth]), graph.node("GlobalMaxPool", [sixteenth])]
    return graph.linear(head.weigh, graph.node("Concat", pooled, axis=1))


class _Graph:
    """Collects nodes and weights; every method returns the name of the tensor that it makes."""

    def __init__(self) -> None:
        self._nodes: List[Any] = []
        self._weights: List[Any] = []

    def node(self, operator: str, inputs: Sequence[str], *, name: Optional[str] = None, **attributes: Any) -> str:
        output = name or f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def conv(self, layer: Any, x: str) -> str:
        weight, bias = _array(layer.weight), _array(layer.bias)
        return self.node("Conv", [x, self.constant(weight), self.constant(bias)], kernel_shape=[1, 1])

    def block(self, block: network.ConvBlock, x: str) -> str:
        norm = block.norm
        scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
        weight = _array(block.conv.weight) * scale[:, None, None, None]
        bias = _array(norm.bias) - _array(norm.running_mean) * scale
        convolved = self.node(
            "Conv",
            [x, self.constant(weight.astype(np.float32)), self.constant(bias.astype(np.float32))],
            kernel_shape=[3, 3],
            strides=list(block.conv.stride),
            dilations=list(block.conv.dilation),
            pads=list(block.conv.padding) * 2,
        )
        return self.node("Relu", [convolved])

    def residual(self, stage: network.Residual, x: str) -> str:
        return self.node("Add", [x, self.block(stage.second, self.block(stage.first, x))])

    def double(self, x: str) -> str:
        """Twice the size, each value four times."""
        scales = self.constant(np.array([1, 1, 2, 2], dtype=np.float32))
        return self.node(
            "Resize", [x, "", scales], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )

    def split(self, x: str, *, head_size: int) -> Tuple[str, str]:
        """The first channels, and the rest."""
        axes = self.constant(np.array([1], dtype=np.int64))
        cut = self.constant(np.array([head_size], dtype=np.int64))
        start = self.constant(np.array([0], dtype=np.int64))
        end = self.constant(np.array([np.iinfo(np.int64).max], dtype=np.int64))
        return self.node("Slice", [x, start, cut, axes]), self.node("Slice", [x, cut, end, axes])

    def linear(self, layer: Any, x: str) -> str:
        flat = self.node("Flatten", [x], axis=1)
        return self.node(
            "Gemm", [flat, self.constant(_array(layer.weight)), self.constant(_array(layer.bias))], transB=1
        )

    def serialise(self, inputs: List[Any], outputs: List[Any]) -> bytes:
        graph = helper.make_graph(self._nodes, "edge_agent", inputs, outputs, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edge-agent")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data


def _array(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy()
