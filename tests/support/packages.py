"""Small packaged models for tests, made with the `onnx` helpers alone: no training, no torch.

`make_package` writes a model that knows colours. After the default scaling (x / 255, no normalisation) a pixel's
class is the one of `CLASS_COLOURS` it is nearest to: grey is background, red "scratch", green "dent", blue "stain".
The score is the largest probability of any anomalous class at any pixel, so one red dot makes an image anomalous:

    package = make_package(tmp_path / "bolts", size=(96, 128), raw_image_shape=(240, 320))
    with open_package(package) as opened: ...

Classes beyond those four, other heads, broken outputs and any manifest key can be asked for.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_agent.frame import Pixels
from edge_agent.model import load_model, open_package
from edge_agent.model.selftest import GoldenSource, record_golden

CLASS_NAMES = ("background", "scratch", "dent", "stain")

# How strongly each class answers to red, green and blue; grey answers to none of the anomalous ones.
_RESPONSES = np.array([[0, 0, 0], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=np.float32)
_GAIN = 20.0
_MARGIN = 6.0  # background's lead, so that grey is background by a wide margin

_OPSET = 13
_IR_VERSION = 8  # the oldest ONNX Runtime that is supported reads it


def make_package(
    directory: Path,
    *,
    size: Tuple[int, int] = (96, 128),
    raw_image_shape: Tuple[int, int] = (240, 320),
    classes: Sequence[str] = CLASS_NAMES[:3],
    heads: str = "both",
    threshold: float = 0.5,
    name: Optional[str] = None,
    version: Optional[str] = "1.0.0",
    work: int = 0,
    stage: Optional[Dict[str, Any]] = None,
    top: Optional[Dict[str, Any]] = None,
    channels: Optional[int] = None,
) -> Path:
    """Write a package directory and return it.

    Args:
        directory: made anew; its name is the model component's name.
        size: (height, width) of the model's input.
        raw_image_shape: (height, width) of the mask.
        classes: names of the pixel classes, background first, at most four.
        heads: "both", "class" or "seg".
        threshold: of the score.
        name: `package.name` in the manifest; None leaves the key out.
        version: `package.version`, likewise.
        work: convolutions of no effect, each about 1 ms at the default size, to make a model slow.
        stage: manifest keys to add or replace in the stage.
        top: manifest keys to add or replace at the top.
        channels: pixel classes the network really gives, where they should differ from `classes`.
    """
    names = list(classes)
    (directory / "mochi").mkdir(parents=True)
    model = _network(size, channels or len(names), heads, work)
    onnx.save(model, str(directory / "mochi" / "model.onnx"))
    manifest = make_manifest(size, raw_image_shape, names, heads, threshold)
    about = {key: value for key, value in (("name", name), ("version", version)) if value is not None}
    manifest.update({"package": about, **(top or {})})
    manifest["model_graph"]["stages"][0].update(stage or {})
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def add_golden(package: Path) -> Path:
    """Give a package two golden images, `good` and with a red patch `bad`, with what its model says of them."""
    manifest = json.loads((package / "manifest.json").read_text())
    with open_package(package) as opened:
        model = load_model(opened, threads=1)
    golden = record_golden(model, package, [GoldenSource("good", part()), GoldenSource("bad", part(scratched=True))])
    manifest["package"]["golden"] = msgspec.to_builtins(golden)
    (package / "manifest.json").write_text(json.dumps(manifest))
    return package


def part(*, scratched: bool = False) -> Pixels:
    """A grey image; with a red patch where it is scratched."""
    pixels = np.full((96, 128, 3), 128, dtype=np.uint8)
    if scratched:
        pixels[20:60, 30:70] = (250, 10, 10)
    return pixels


def make_manifest(
    size: Tuple[int, int], raw_image_shape: Tuple[int, int], names: Sequence[str], heads: str, threshold: float
) -> Dict[str, Any]:
    """The manifest of `make_package` as a document to change at will."""
    height, width = size
    return {
        "model_graph": {
            "model_graph_type": "single_stage_model_graph",
            "stages": [
                {
                    "type": "mochi",
                    "input_shape": [1, 3, height, width],
                    "image_width": width,
                    "image_height": height,
                    "raw_image_shape": list(raw_image_shape),
                    "image_range_scale": True,
                    "normalize": False,
                    "threshold": threshold,
                    "classification_head_enabled": heads in ("both", "class"),
                    "segmentation_head_enabled": heads in ("both", "seg"),
                    "class_normal_ids": [1],
                    "seg_normal_ids": [0],
                    "calibrated": False,
                }
            ],
            "image_level_classes": {"names": ["anomaly", "normal"], "normal_ids": [1]},
            "pixel_level_classes": {"names": list(names) if heads != "class" else [], "normal_ids": [0]},
        },
        "runtime": "onnx",
        "dataset": {"image_width": raw_image_shape[1], "image_height": raw_image_shape[0]},
    }


def zip_package(directory: Path, target: Path, *, top: str = "") -> Path:
    """Zip a package directory, at the top of the zip or below one directory named `top`."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in directory.rglob("*") if path.is_file()):
            archive.write(file, str(Path(top) / file.relative_to(directory)))
    return target


def _network(size: Tuple[int, int], channels: int, heads: str, work: int) -> onnx.ModelProto:
    height, width = size
    responses = np.zeros((channels, 3), dtype=np.float32)
    responses[: len(_RESPONSES)] = _RESPONSES[:channels]
    bias = np.zeros(channels, dtype=np.float32)
    bias[0] = _MARGIN
    weights = [
        numpy_helper.from_array((_GAIN * responses).reshape(channels, 3, 1, 1), "weights"),
        numpy_helper.from_array(bias, "bias"),
        numpy_helper.from_array(np.array([0], dtype=np.int64), "first"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "second"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"),
        numpy_helper.from_array(np.array([1.0], dtype=np.float32), "one"),
    ]
    nodes: List[onnx.NodeProto] = []
    source = _add_work(nodes, weights, work)
    nodes += [
        helper.make_node("Conv", [source, "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["mask"], axis=1),
        helper.make_node("Slice", ["mask", "first", "second", "axis"], ["background"]),
        helper.make_node("ReduceMin", ["background"], ["least"], axes=[2, 3], keepdims=0),
        helper.make_node("Sub", ["one", "least"], ["anomaly"]),
        helper.make_node("Concat", ["anomaly", "least"], ["class"], axis=1),
    ]
    outputs = {
        "mask": helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, channels, height, width]),
        "class": helper.make_tensor_value_info("class", TensorProto.FLOAT, [1, 2]),
    }
    wanted = {"both": ["mask", "class"], "class": ["class"], "seg": ["mask"]}[heads]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, height, width])],
        [outputs[key] for key in wanted],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return model


def _add_work(nodes: List[onnx.NodeProto], weights: List[onnx.TensorProto], work: int) -> str:
    """Convolutions whose weights are zero, added to the input: time without effect."""
    if not work:
        return "input"
    weights.append(numpy_helper.from_array(np.zeros((32, 3, 3, 3), dtype=np.float32), "widen"))
    weights.append(numpy_helper.from_array(np.zeros((32, 32, 3, 3), dtype=np.float32), "repeat"))
    weights.append(numpy_helper.from_array(np.zeros((3, 32, 1, 1), dtype=np.float32), "narrow"))
    nodes.append(helper.make_node("Conv", ["input", "widen"], ["work0"], pads=[1, 1, 1, 1]))
    nodes.extend(
        helper.make_node("Conv", [f"work{index}", "repeat"], [f"work{index + 1}"], pads=[1, 1, 1, 1])
        for index in range(work)
    )
    nodes.append(helper.make_node("Conv", [f"work{work}", "narrow"], ["nothing"]))
    nodes.append(helper.make_node("Add", ["input", "nothing"], ["tired"]))
    return "tired"
