"""A network made ready for its target says what it said before, and takes pixels."""

from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.anomalib import make_anomalib_package
from support.packages import add_golden, make_package, part

from edge_agent.errors import EngineError, PackageError, SelfTestError
from edge_agent.model import Verdict, load_model, open_package, self_test
from edge_agent.model.manifest import Stage
from edge_agent.model.preprocess import Preprocessor
from edge_agent.packaging.optimize import graph
from edge_agent.packaging.optimize.package import optimize
from edge_agent.packaging.optimize.wanted import FP16, FP32, INT8, Wanted

_SIZE = (48, 64)
_CPU, _GPU = {"gpu": False}, {"gpu": True}


def _verdicts(package: Path) -> List[Verdict]:
    rng = np.random.default_rng(7)
    images = [part(), part(scratched=True)]
    images += [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in (_SIZE, (80, 70), (240, 321))]
    with open_package(package) as opened:
        model = load_model(opened, threads=1)
        self_test(model, opened)
    return [model.detect(pixels) for pixels in images]


def _stage(*, scale: bool, normalize: bool) -> Stage:
    height, width = _SIZE
    return Stage("mochi", width, height, image_range_scale=scale, normalize=normalize, threshold=0.5)


def _copy(package: Path) -> Path:
    return Path(shutil.copytree(package, package.with_name("optimized")))


def _network(package: Path) -> Any:
    return onnx.load(str(next(package.glob("*/*.onnx"))))


@pytest.mark.parametrize(("scale", "normalize"), list(itertools.product([False, True], repeat=2)))
def test_folded_arithmetic_gives_the_bits_of_the_preprocessor(scale: Any, normalize: Any) -> None:
    import onnxruntime

    stage = _stage(scale=scale, normalize=normalize)
    shape = [1, 3, *_SIZE]
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)
    identity = helper.make_graph([helper.make_node("Identity", ["input"], ["output"])], "identity", [entry], [result])
    model = helper.make_model(identity, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    graph.fold_pixels(model, stage)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    taking = Preprocessor(graph.replace_pixels(stage))
    for size in (_SIZE, (300, 400)):
        pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
        (found,) = session.run(None, {session.get_inputs()[0].name: taking.run(pixels)})
        assert np.array_equal(found, Preprocessor(stage).run(pixels))


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha_end_in_three_channels_for_a_network_that_takes_pixels(channels: int) -> None:
    """`Model` gives RGB alone; the pre-processing itself does what the literal one does."""
    stage = _stage(scale=False, normalize=False)
    pixels = np.random.default_rng(2).integers(0, 256, (100, 90, channels), dtype=np.uint8)
    found = Preprocessor(graph.replace_pixels(stage)).run(pixels)
    assert found.shape == (1, *_SIZE, 3)
    assert np.array_equal(found.transpose(0, 3, 1, 2), Preprocessor(stage).run(pixels))


@pytest.mark.parametrize("heads", ["both", "class", "seg"])
def test_an_optimized_package_says_what_it_said(heads: str, tmp_path: Path) -> None:
    package = make_package(tmp_path / "bolts", size=_SIZE, heads=heads, work=1)
    optimized = _copy(package)
    clause = optimize(optimized, Wanted(FP32, **_CPU))
    assert clause.startswith("fp32, pixels in")
    for before, after in zip(_verdicts(package), _verdicts(optimized)):
        assert after.score == pytest.approx(before.score, abs=1e-5)
        assert after.is_anomalous is before.is_anomalous
        assert [(found.name, pytest.approx(found.area, abs=1e-3)) for found in after.anomalies] == [
            (found.name, found.area) for found in before.anomalies
        ]
    manifest = json.loads((optimized / "manifest.json").read_text())
    stage = manifest["model_graph"]["stages"][0]
    assert (stage["takes_pixels"], stage["input_shape"]) == (True, [1, *_SIZE, 3])
    assert manifest["package"]["precision"] == "fp32"
    (entry,) = _network(optimized).graph.input
    assert entry.type.tensor_type.elem_type == TensorProto.UINT8


def test_an_optimized_file_has_the_versions_that_the_first_one_had(tmp_path: Path) -> None:
    """Devices have older runtimes than the machine that makes packages."""
    package = make_package(tmp_path / "bolts", size=_SIZE)
    optimized = _copy(package)
    optimize(optimized, Wanted(FP32, **_CPU))
    before, after = _network(package), _network(optimized)
    assert (after.ir_version, list(after.opset_import)) == (before.ir_version, list(before.opset_import))
    assert {node.domain for node in after.graph.node} <= {""}


def _conv_net(file: Path, *, softmax: bool) -> Any:
    """A convolution, a normalisation by batch, and constants to compute; mask and class, as `both` has it."""
    rng = np.random.default_rng(3)
    values = {
        "weights": rng.normal(size=(2, 3, 1, 1)),
        "scale": np.array([1.5, 0.5]),
        "shift": np.array([0.1, -0.1]),
        "mean": np.array([0.2, 0.3]),
        "variance": np.array([1.1, 0.9]),
    }
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    nodes = [
        helper.make_node("Conv", ["input", "weights"], ["wide"]),
        helper.make_node("BatchNormalization", ["wide", "scale", "shift", "mean", "variance"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["mask"], axis=1)
        if softmax
        else helper.make_node("Sigmoid", ["logits"], ["mask"]),
        helper.make_node("GlobalAveragePool", ["logits"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["class"], axis=1),
    ]
    form = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, *_SIZE])],
        [
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", 2, *_SIZE]),
            helper.make_tensor_value_info("class", TensorProto.FLOAT, ["batch", 2]),
        ],
        weights,
    )
    model = helper.make_model(form, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
    return model


@pytest.mark.parametrize("softmax", [True, False])
def test_normalisations_go_into_convolutions_and_the_softmax_of_a_mask_goes(softmax: Any, tmp_path: Path) -> None:
    package = make_package(tmp_path / "bolts", size=_SIZE, classes=("background", "scratch"))
    _conv_net(package / "mochi" / "model.onnx", softmax=softmax)
    optimized = _copy(package)
    clause = optimize(optimized, Wanted(FP32, **_CPU))
    kinds = [node.op_type for node in _network(optimized).graph.node]
    assert "BatchNormalization" not in kinds
    assert ("no softmax of the mask" in clause) is softmax
    assert kinds.count("Softmax") == 1  # the class's
    for before, after in zip(_verdicts(package), _verdicts(optimized)):
        assert after.score == pytest.approx(before.score, abs=1e-5)
        assert after.mask is not None
        assert before.mask is not None
        assert np.mean(after.mask != before.mask) < 0.001


def test_a_bias_on_the_mask_keeps_its_softmax(tmp_path: Path) -> None:
    package = make_package(
        tmp_path / "bolts", size=_SIZE, classes=("background", "scratch"), stage={"seg_recall_bias": 0.1}
    )
    _conv_net(package / "mochi" / "model.onnx", softmax=True)
    assert "softmax" not in optimize(package, Wanted(FP32, **_CPU))


@pytest.mark.parametrize("open_size", [False, True])
def test_an_anomalib_export_keeps_the_outputs_that_are_read_in_one_file(open_size: Any, tmp_path: Path) -> None:
    package = make_anomalib_package(
        tmp_path / "bolts", external="model.onnx.data", open_size=open_size, batch="batch_size"
    )
    optimized = _copy(package)
    optimize(optimized, Wanted(FP32, **_CPU))
    assert sorted(file.name for file in (optimized / "anomalib").iterdir()) == ["model.onnx"]
    assert {output.name for output in _network(optimized).graph.output} == {"pred_score", "pred_mask"}
    for before, after in zip(_verdicts(package), _verdicts(optimized)):
        assert (after.score, after.is_anomalous) == (pytest.approx(before.score, abs=1e-6), before.is_anomalous)


@pytest.mark.parametrize(("precision", "target"), [(INT8, _CPU), (INT8, _GPU), (FP16, _GPU)])
def test_fewer_bits_are_taken_where_the_golden_images_agree(precision: str, target: Any, tmp_path: Path) -> None:
    package = add_golden(make_package(tmp_path / "bolts", size=_SIZE, work=2))
    optimized, path = _copy(package), list(sys.path)
    assert optimize(optimized, Wanted(precision, **target)).startswith(precision)
    assert sys.path == path  # the converters' import adds to it
    assert logging.root.manager.disable == 0
    kinds = {weight.data_type for weight in _network(optimized).graph.initializer}
    assert (TensorProto.INT8 if precision == INT8 else TensorProto.FLOAT16) in kinds
    manifest = json.loads((optimized / "manifest.json").read_text())
    assert manifest["package"]["precision"] == precision
    assert manifest["package"]["golden"]["tolerance"] == {INT8: 0.05, FP16: 0.02}[precision]
    good, bad, *_ = _verdicts(optimized)
    assert (good.is_anomalous, bad.is_anomalous) == (False, True)


def test_a_network_that_fewer_bits_change_is_refused(tmp_path: Path) -> None:
    """The class depends on a difference that eight bits lose: 1000.2 or 1000.4 before a steep decision."""
    package = make_package(tmp_path / "bolts", size=_SIZE, heads="class")
    values = {
        "weights": np.full((1, 3, 1, 1), 0.2),
        "bias": np.array([1000.0]),
        "second": np.array([[[[200.0]]], [[[-200.0]]]]),
        "level": np.array([-200060.0, 200060.0]),
    }
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    nodes = [
        helper.make_node("Conv", ["input", "weights", "bias"], ["high"]),
        helper.make_node("Conv", ["high", "second", "level"], ["steep"]),
        helper.make_node("GlobalAveragePool", ["steep"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["class"], axis=1),
    ]
    form = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *_SIZE])],
        [helper.make_tensor_value_info("class", TensorProto.FLOAT, [1, 2])],
        weights,
    )
    model = helper.make_model(form, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(package / "mochi" / "model.onnx"))
    add_golden(package)
    with pytest.raises(SelfTestError, match=r"the int8 network does not agree with the one that it was made from: exp"):
        optimize(package, Wanted(INT8, **_CPU))


@pytest.mark.parametrize(
    ("precision", "target", "said"),
    [
        (FP16, _CPU, "on a processor, which does that slower"),
        (FP16, _GPU, "has no golden images, which an fp16 network must agree with"),
        (INT8, _CPU, "has no golden images, which an int8 network must agree with"),
    ],
)
def test_what_cannot_be_had_is_refused(precision: str, target: Any, said: str, tmp_path: Path) -> None:
    package = make_package(tmp_path / "bolts", size=_SIZE)
    with pytest.raises(PackageError, match=said):
        optimize(package, Wanted(precision, **target))


def test_a_package_is_optimized_once(tmp_path: Path) -> None:
    package = add_golden(make_package(tmp_path / "bolts", size=_SIZE))
    optimize(package, Wanted(FP32, **_CPU))
    network = (package / "mochi" / "model.onnx").read_bytes()
    assert optimize(package, Wanted(FP32, **_CPU)) == ""
    assert (package / "mochi" / "model.onnx").read_bytes() == network
    with pytest.raises(PackageError, match="was optimised before"):
        optimize(package, Wanted(INT8, **_CPU))


def test_a_network_that_does_not_load_is_one_clear_error(tmp_path: Path) -> None:
    package = make_package(tmp_path / "bolts", size=_SIZE)
    (package / "mochi" / "model.onnx").write_bytes(b"no network")
    with pytest.raises(EngineError, match=r"model\.onnx"):
        optimize(package, Wanted(FP32, **_CPU))


def test_operators_of_a_function_within_the_file_are_no_hindrance(tmp_path: Path) -> None:
    """Newer exporters write functions of their own domain, which ONNX Runtime puts in line."""
    package = make_package(tmp_path / "bolts", size=_SIZE, heads="class")
    file = package / "mochi" / "model.onnx"
    model = onnx.load(str(file))
    body = [helper.make_node("Identity", ["x"], ["y"])]
    function = helper.make_function("own.domain", "Pass", ["x"], ["y"], body, [helper.make_opsetid("", 13)])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own.domain", 1))
    (score,) = model.graph.output
    last = next(node for node in model.graph.node if score.name in node.output)
    last.output[:] = ["before"]
    model.graph.node.append(helper.make_node("Pass", ["before"], [score.name], domain="own.domain"))
    onnx.save(model, str(file))
    before = _verdicts(package)
    optimize(package, Wanted(FP32, **_CPU))
    assert [verdict.score for verdict in _verdicts(package)] == pytest.approx([v.score for v in before], abs=1e-5)


_OPTIMIZE = """
import sys
from pathlib import Path
from edge_agent.packaging.optimize.package import optimize
from edge_agent.packaging.optimize.wanted import INT8, Wanted
optimize(Path(sys.argv[1]), Wanted(INT8, gpu=False))
"""


def test_optimizing_writes_no_telemetry(tmp_path: Path) -> None:
    """As tests/model/test_telemetry.py; the quantiser loads ONNX Runtime by ways of its own."""
    package = add_golden(make_package(tmp_path / "bolts", size=_SIZE))
    home = tmp_path / "home"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    environment.update(HOME=str(home), XDG_CACHE_HOME=str(home / "cache"))
    run = subprocess.run(
        [sys.executable, "-c", _OPTIMIZE, str(package)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "elemetry" not in run.stderr
    assert list(home.rglob("*")) == []
