"""Small networks with the outputs of an anomalib export, made with the `onnx` helpers; they see red.

`make_export` writes the file as anomalib would, `make_anomalib_package` a package around it. A pixel's anomaly is how
much redder it is than green and blue, 0..1; the image's score is the largest one. `to_openvino` converts a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ALL = ("pred_score", "pred_label", "anomaly_map", "pred_mask")

_FLOAT, _BOOL, _INT = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64


def make_export(
    file: Path,
    *,
    size: Tuple[int, int] = (96, 128),
    outputs: Sequence[str] = ALL,
    batch: Any = 1,
    open_size: bool = False,
    score_shape: Sequence[int] = (1, 1),
    integers: bool = False,
    gain: float = 1.0,
    threshold: float = 0.5,
    external: Optional[str] = None,
    opset: int = 13,
    ir_version: int = 8,
) -> Path:
    """Write `file` and return it.

    Args:
        file: `*.onnx`.
        size: (height, width) of the input and of the map.
        outputs: which of `ALL` it has.
        batch: of the input and of all outputs; a name leaves it open.
        open_size: leave height and width of the input open; the graph resizes to `size`, as anomalib's do.
        score_shape: of score and label: (1, 1), (1,) or ().
        integers: label and mask as int64 instead of truth values.
        gain: of scores and map; they are cut to 0..1 unless it is above 1.
        threshold: of label and mask.
        external: name of a file for the weights.
        opset: of the file.
        ir_version: of the file.
    """
    height, width = size
    weights = [
        numpy_helper.from_array(np.array([1, -0.5, -0.5], dtype=np.float32).reshape(1, 3, 1, 1), "redness"),
        numpy_helper.from_array(np.array(gain, dtype=np.float32), "gain"),
        numpy_helper.from_array(np.array(0, dtype=np.float32), "low"),
        numpy_helper.from_array(np.array(max(gain, 1.0), dtype=np.float32), "high"),
        numpy_helper.from_array(np.array(threshold, dtype=np.float32), "threshold"),
        numpy_helper.from_array(np.array(score_shape, dtype=np.int64), "score_shape"),
    ]
    nodes = []
    source = "input"
    if open_size:
        sizes = np.array([1 if batch == "batch_size" else batch, 3, height, width], dtype=np.int64)
        weights.append(numpy_helper.from_array(sizes, "sizes"))
        nodes.append(helper.make_node("Resize", [source, "", "", "sizes"], ["resized"], mode="linear"))
        source = "resized"
    nodes += [
        helper.make_node("Conv", [source, "redness"], ["raw"]),
        helper.make_node("Mul", ["raw", "gain"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "low", "high"], ["anomaly_map"]),
        helper.make_node("ReduceMax", ["anomaly_map"], ["largest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["largest", "score_shape"], ["pred_score"]),
        helper.make_node("Greater", ["pred_score", "threshold"], ["label"]),
        helper.make_node("Greater", ["anomaly_map", "threshold"], ["mask"]),
        helper.make_node("Cast", ["label"], ["pred_label"], to=_INT if integers else _BOOL),
        helper.make_node("Cast", ["mask"], ["pred_mask"], to=_INT if integers else _BOOL),
    ]
    flags = _INT if integers else _BOOL
    shapes: Dict[str, Tuple[int, Sequence[Any]]] = {
        "pred_score": (_FLOAT, score_shape),
        "pred_label": (flags, score_shape),
        "anomaly_map": (_FLOAT, [batch, 1, height, width]),
        "pred_mask": (flags, [batch, 1, height, width]),
    }
    sides: List[Any] = ["height", "width"] if open_size else [height, width]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("input", _FLOAT, [batch, 3, *sides])],
        [helper.make_tensor_value_info(name, *shapes[name]) for name in outputs],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    file.parent.mkdir(parents=True, exist_ok=True)
    if external:
        # Only the large weights lie beside the file, as in a real export: shapes are needed to read the graph.
        tensor = model.graph.initializer[0]
        (file.parent / external).write_bytes(tensor.raw_data)
        onnx.external_data_helper.set_external_data(tensor, external)
        tensor.ClearField("raw_data")
    file.write_bytes(model.SerializeToString())
    return file


def make_anomalib_package(
    directory: Path,
    *,
    size: Tuple[int, int] = (96, 128),
    raw_image_shape: Optional[Tuple[int, int]] = None,
    threshold: float = 0.5,
    keys: Optional[Dict[str, Any]] = None,
    runtime: str = "onnx",
    **export: Any,
) -> Path:
    """Write a package directory and return it.

    Args:
        directory: made anew; its name is the model component's name.
        size: (height, width) of the model's input.
        raw_image_shape: (height, width) of the mask; None for the size of the image.
        threshold: of the stage.
        keys: of the stage's `anomalib`; the default takes pred_score and pred_mask.
        runtime: `onnx` or `openvino`.
        **export: arguments of `make_export`.
    """
    file = make_export(directory / "anomalib" / "model.onnx", size=size, **export)
    if runtime == "openvino":
        to_openvino(file, file.with_suffix(".xml"))
        file.unlink()
    keys = {"mask_from": "pred_mask"} if keys is None else keys
    document = anomalib_manifest(size, raw_image_shape, threshold, keys, runtime)
    document["package"] = {"name": directory.name, "version": "1.0.0"}
    (directory / "manifest.json").write_text(json.dumps(document))
    return directory


def anomalib_manifest(
    size: Tuple[int, int],
    raw_image_shape: Optional[Tuple[int, int]],
    threshold: float,
    keys: Dict[str, Any],
    runtime: str = "onnx",
) -> Dict[str, Any]:
    """A manifest as a document to change at will."""
    has_mask = keys.get("mask_from") is not None
    stage: Dict[str, Any] = {
        "type": "anomalib",
        "image_width": size[1],
        "image_height": size[0],
        "image_range_scale": True,
        "normalize": False,
        "threshold": threshold,
        "classification_head_enabled": True,
        "segmentation_head_enabled": has_mask,
        "anomalib": keys,
    }
    if raw_image_shape:
        stage["raw_image_shape"] = list(raw_image_shape)
    return {
        "model_graph": {
            "model_graph_type": "single_stage_model_graph",
            "stages": [stage],
            "image_level_classes": {"names": ["anomaly", "normal"], "normal_ids": [1]},
            "pixel_level_classes": {"names": ["background", "anomaly"] if has_mask else [], "normal_ids": [0]},
        },
        "runtime": runtime,
    }


def to_openvino(source: Path, target: Path) -> Path:
    """Convert an ONNX file to OpenVINO's `.xml` and `.bin`."""
    from edge_agent.model.engine_openvino import openvino  # imported anywhere else, it would report to its makers

    openvino.save_model(openvino.convert_model(str(source)), str(target), compress_to_fp16=False)
    return target
