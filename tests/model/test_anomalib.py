"""anomalib exports: the arithmetic against its literal reference, and whole packages through the real runtimes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model import reference_anomalib as reference
from support.anomalib import ALL, anomalib_manifest, make_anomalib_package

from edge_agent.errors import EngineError, ImageError, ManifestError, PackageError
from edge_agent.model import Model, load_model, open_package
from edge_agent.model.anomalib import AnomalibPostprocessor
from edge_agent.model.manifest import Manifest, parse_manifest
from edge_agent.model.preprocess import Preprocessor

sides = st.integers(1, 200)
maps = st.integers(1, 64)


def manifest_of(document: Dict[str, Any]) -> Manifest:
    return parse_manifest(json.dumps(document).encode(), "manifest.json")


@settings(max_examples=60, deadline=None)
@given(size=st.tuples(maps, maps), height=sides, width=sides, seed=st.integers(0, 2**32 - 1))
def test_preprocessing_is_the_reference_bit_for_bit(size: Tuple[int, int], height: int, width: int, seed: int) -> None:
    document = anomalib_manifest(size, None, 0.5, {})
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = reference.preprocess(pixels, document["model_graph"]["stages"][0])
    np.testing.assert_array_equal(Preprocessor(manifest_of(document).stage).run(pixels), expected)


@st.composite
def decisions(draw: st.DrawFn) -> Tuple[Dict[str, Any], Dict[str, np.ndarray], Tuple[int, int]]:
    kind = draw(st.sampled_from(["normalized", "raw"]))
    keys: Dict[str, Any] = {
        "score_from": draw(st.sampled_from(["pred_score", "anomaly_map", "pred_label"])),
        "score_kind": kind,
        "mask_from": draw(st.sampled_from([None, "pred_mask", "anomaly_map"])),
    }
    scale = draw(st.sampled_from([1.0, 40.0, 1.5]))
    if keys["mask_from"] == "anomaly_map":
        keys["pixel_threshold"] = draw(st.sampled_from([0.5, 0.25 * scale, 0.1, 0.0]))
    image = draw(sides), draw(sides)
    raw = draw(st.none() | st.tuples(sides, sides))
    threshold = draw(st.floats(0.01, 50 if kind == "raw" else 1))
    document = anomalib_manifest((32, 32), raw, threshold, keys)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Few levels, so that values fall on the thresholds.
    levels = draw(st.sampled_from([2, 4, 2**20]))
    height, width = draw(maps), draw(maps)
    shape = draw(st.sampled_from([(1, 1, height, width), (1, height, width)]))
    flags = draw(st.sampled_from([np.bool_, np.uint8, np.int64]))
    one = draw(st.sampled_from([(1, 1), (1,), ()]))
    outputs = {
        "pred_score": np.full(one, random.integers(0, levels + 1) / levels * scale, dtype=np.float32),
        "pred_label": np.full(one, random.integers(0, 2), dtype=flags),
        "anomaly_map": (random.integers(0, levels + 1, shape) / levels * scale).astype(np.float32),
        "pred_mask": random.integers(0, 2, shape).astype(flags),
    }
    return document, outputs, image


@settings(max_examples=150, deadline=None)
@given(case=decisions())
def test_decision_is_the_reference(case: Tuple[Dict[str, Any], Dict[str, np.ndarray], Tuple[int, int]]) -> None:
    document, outputs, image = case
    manifest = manifest_of(document)
    stage = document["model_graph"]["stages"][0]
    keys = stage["anomalib"]
    given_outputs = [outputs[keys["score_from"]]]
    if keys["mask_from"] not in (None, keys["score_from"]):
        given_outputs.append(outputs[keys["mask_from"]])
    before = [output.copy() for output in given_outputs]
    names = ["background", "anomaly"]
    anomalous, confidence, score, found, mask = reference.postprocess(outputs, stage, names, image)

    size = manifest.mask_size or image
    processor = AnomalibPostprocessor(manifest)
    for _ in range(2):  # its buffers are used again
        out = np.full((*size, 3), 7, dtype=np.uint8) if manifest.reports_mask else None
        verdict = processor.run(given_outputs, out)
        assert verdict.is_anomalous is anomalous
        assert verdict.score == score
        assert verdict.confidence == pytest.approx(confidence, abs=1e-12)
        assert [(a.name, a.area, a.hex_color) for a in verdict.anomalies] == found
        if mask is None:
            assert verdict.mask is None
        else:
            assert verdict.mask is out
            np.testing.assert_array_equal(out, mask)
    for output, kept in zip(given_outputs, before):
        np.testing.assert_array_equal(output, kept)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_no_numbers_are_errors(value: float) -> None:
    processor = AnomalibPostprocessor(manifest_of(anomalib_manifest((8, 8), None, 0.5, {})))
    with pytest.raises(EngineError, match="which is no number"):
        processor.run([np.array([[value]], dtype=np.float32)])
    keys = {"mask_from": "anomaly_map", "pixel_threshold": 0.5}
    processor = AnomalibPostprocessor(manifest_of(anomalib_manifest((8, 8), None, 0.5, keys)))
    broken = np.full((1, 1, 8, 8), np.nan, dtype=np.float32)
    with pytest.raises(EngineError, match="no numbers"):
        processor.run([np.array([[0.1]], dtype=np.float32), broken], np.zeros((8, 8, 3), np.uint8))


def load(path: Path, threads: int = 1) -> Model:
    with open_package(path) as package:
        return load_model(package, threads=threads)


def part(red: int = 0, height: int = 240, width: int = 320) -> np.ndarray:
    pixels = np.full((height, width, 3), 128, dtype=np.uint8)
    pixels[40 : 40 + red, 60 : 60 + red] = (230, 10, 10)
    return pixels


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_package_sees_what_is_there(tmp_path: Path, runtime: str) -> None:
    model = load(make_anomalib_package(tmp_path / "bolts", runtime=runtime))
    model.warm_up()
    clean = model.detect(part())
    assert not clean.is_anomalous
    assert (clean.score, clean.threshold, clean.confidence) == (pytest.approx(0, abs=1e-6), 0.5, pytest.approx(1))
    assert [(a.name, a.area, a.hex_color) for a in clean.anomalies] == [("background", 1.0, "#FFFFFF")]
    assert clean.mask.shape == (240, 320, 3)  # of the image's size

    red = model.detect(part(60))
    assert red.is_anomalous
    assert red.score == red.confidence == pytest.approx((230 - 10) / 255, abs=1e-5)
    assert [a.name for a in red.anomalies] == ["background", "anomaly"]
    assert red.anomalies[1].area == pytest.approx(60 * 60 / (240 * 320), rel=0.1)
    assert red.mask[70, 90].tolist() == [0x23, 0xA4, 0x36]
    assert model.detect(part(60, 480, 640)).mask.shape == (480, 640, 3)
    with pytest.raises(ImageError, match="mask_out"):
        model.detect(part(60, 480, 640), np.zeros((240, 320, 3), np.uint8))
    model.close()


SUBSETS: List[Tuple[Tuple[str, ...], Dict[str, Any]]] = [
    (("pred_score",), {}),
    (("pred_score", "pred_label"), {}),
    (("pred_label", "pred_mask"), {"score_from": "pred_label", "mask_from": "pred_mask"}),
    (("anomaly_map",), {"score_from": "anomaly_map", "mask_from": "anomaly_map", "pixel_threshold": 0.5}),
    (("anomaly_map", "pred_score"), {"mask_from": "anomaly_map", "pixel_threshold": 0.5}),
    (("pred_mask", "anomaly_map"), {"score_from": "anomaly_map", "mask_from": "pred_mask"}),
    (ALL, {"score_from": "anomaly_map"}),
]


@pytest.mark.parametrize(("outputs", "keys"), SUBSETS)
@pytest.mark.parametrize(
    "shape", [{"score_shape": (1,)}, {"score_shape": (), "integers": True}, {"batch": "batch_size", "open_size": True}]
)
def test_every_subset_of_outputs_and_every_shape(
    tmp_path: Path, outputs: Tuple[str, ...], keys: Dict[str, Any], shape: Dict[str, Any]
) -> None:
    path = make_anomalib_package(tmp_path / "bolts", outputs=outputs, keys=keys, raw_image_shape=(100, 200), **shape)
    model = load(path)
    for red in (0, 60):
        verdict = model.detect(part(red))
        assert verdict.is_anomalous is (red > 0)
        if "mask_from" in keys:
            assert verdict.mask.shape == (100, 200, 3)
            assert [a.name for a in verdict.anomalies] == ["background", "anomaly"][: 2 if red else 1]
        else:
            assert (verdict.mask, verdict.anomalies) == (None, ())


def test_raw_scores_have_a_confidence_all_the_same(tmp_path: Path) -> None:
    path = make_anomalib_package(
        tmp_path / "bolts", gain=40.0, threshold=20.0, keys={"score_kind": "raw"}, outputs=("pred_score",)
    )
    model = load(path)
    red = model.detect(part(60))
    assert red.is_anomalous
    assert red.score == pytest.approx(40 * 220 / 255, abs=1e-3)
    assert red.confidence == pytest.approx(red.score / 40)
    clean = model.detect(part())
    assert (clean.is_anomalous, clean.confidence) == (False, pytest.approx(1.0, abs=1e-6))


UNFIT: Dict[str, Tuple[Dict[str, Any], str]] = {
    "two at a time": (
        {"batch": 2, "score_shape": (2,), "open_size": True},
        (
            r"anomalib/model\.onnx: its input does not fit its manifest: expected float32 \[1, 3, 96, 128\]; "
            r"found float32 \[2, 3, height, width\]\. It takes more than one image at a time\. Export it anew for one: "
            r"engine\.export\(.*onnx_kwargs=\{'dynamic_axes': None, 'dynamic_shapes': None\}\)\."
        ),
    ),
    "outputs of another network": (
        {"outputs": ("anomaly_map",), "keys": {}},
        r"has no output 'pred_score', which its manifest calls for; found anomaly_map float32 \[1, 1, 96, 128\]",
    ),
    "a map for a score": (
        {"score_shape": (1, 1, 1)},
        r"expected pred_score \[1, 1\] or \[1\] or \[\], pred_mask .*; found \[1, 1, 1\], \[1, 1, 96, 128\]",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_an_export_that_does_not_fit(tmp_path: Path, case: str) -> None:
    options, message = UNFIT[case]
    with pytest.raises(EngineError, match=message):
        load(make_anomalib_package(tmp_path / "bolts", **options))


def test_an_output_of_another_type_is_named(tmp_path: Path) -> None:
    path = make_anomalib_package(tmp_path / "bolts")
    file = str(path / "anomalib" / "model.onnx")
    network = onnx.load(file)
    network.graph.output[3].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    network.graph.node[-1].attribute[0].i = onnx.TensorProto.FLOAT
    onnx.save(network, file)
    with pytest.raises(EngineError, match="its output 'pred_mask' is float32, not bool or"):
        load(path)


def test_weights_beside_the_file_must_be_there_and_inside(tmp_path: Path) -> None:
    path = make_anomalib_package(tmp_path / "bolts", external="model.onnx.data")
    assert load(path).detect(part(60)).is_anomalous
    (path / "anomalib" / "model.onnx.data").rename(tmp_path / "outside.data")
    with pytest.raises(
        PackageError, match=r"has no file anomalib/model\.onnx\.data, which holds weights of model\.onnx\. The files tr"
    ):
        load(path)
    (path / "anomalib" / "model.onnx.data").symlink_to(tmp_path / "outside.data")
    with pytest.raises(PackageError, match="lies outside the package"):
        load(path)


@pytest.mark.parametrize("place", ["../../outside.data", "{outside}"])
@pytest.mark.parametrize("nested", [False, True])
def test_weights_from_elsewhere_are_refused(tmp_path: Path, place: str, nested: bool) -> None:  # noqa: FBT001
    path = make_anomalib_package(tmp_path / "bolts", external="model.onnx.data")
    outside = tmp_path / "outside.data"
    (path / "anomalib" / "model.onnx.data").rename(outside)
    file = str(path / "anomalib" / "model.onnx")
    network = onnx.load(file, load_external_data=False)
    network.graph.initializer[0].external_data[0].value = place.format(outside=outside)
    if nested:  # as a constant of a branch, which is a graph in an attribute of a node
        tensor = network.graph.initializer.pop(0)
        constant = onnx.helper.make_node("Constant", [], [tensor.name])
        constant.attribute.append(onnx.helper.make_attribute("value", tensor))
        branch = onnx.helper.make_graph([constant], "branch", [], [])
        node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
        network.graph.node.append(node)
    Path(file).write_bytes(network.SerializeToString())
    with pytest.raises(PackageError, match="which lies outside the package"):
        load(path)


def test_a_file_of_the_future_names_the_versions(tmp_path: Path) -> None:
    import onnxruntime

    path = make_anomalib_package(tmp_path / "bolts", ir_version=8)
    file = path / "anomalib" / "model.onnx"
    network = onnx.load(str(file))
    network.ir_version = 99
    file.write_bytes(network.SerializeToString())
    with pytest.raises(
        EngineError, match=rf"It is of IR version 99 and opset 13; here is ONNX Runtime {onnxruntime.__version__}"
    ):
        load(path)


MANIFESTS: Dict[str, Tuple[Dict[str, Any], Dict[str, Any], Dict[str, Any], str]] = {
    "score": ({"score_from": "score"}, {}, {}, r"anomalib\.score_from: is 'score', not one of pred_score, anomaly_map"),
    "mask": ({"mask_from": "mask"}, {}, {}, r"anomalib\.mask_from: is 'mask', not one of pred_mask, anomaly_map"),
    "kind": ({"score_kind": "odd"}, {}, {}, r"anomalib\.score_kind: is 'odd', not one of normalized, raw"),
    "runtime": ({}, {}, {"runtime": "dlr"}, r"manifest\.json: runtime: is 'dlr'; an anomalib stage needs one of onnx"),
    "heads": ({}, {"segmentation_head_enabled": True}, {}, r"is true, but anomalib\.mask_from is None"),
    "no pixel threshold": ({"mask_from": "anomaly_map"}, {}, {}, r"anomalib\.pixel_threshold: goes with the mask_from"),
    "a pixel threshold": ({"pixel_threshold": 0.5}, {}, {}, r"anomalib\.pixel_threshold: goes with the mask_from"),
    "raw": ({"score_kind": "raw"}, {"threshold": 0}, {}, r"stages\[0\]\.threshold: is 0\.0; with raw scores"),
    "calibrated": ({}, {"seg_recall_bias": 0.1}, {}, r"seg_recall_bias: has no meaning in a stage of type 'anomalib'"),
    "type": ({}, {"type": "dango"}, {}, r"is 'dango', a stage type .*Only 'mochi' and 'anomalib' are"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests_that_contradict_themselves(case: str) -> None:
    keys, stage, top, message = MANIFESTS[case]
    document = anomalib_manifest((8, 8), None, 0.5, keys)
    document["model_graph"]["stages"][0].update(stage)
    document.update(top)
    with pytest.raises(ManifestError, match=message):
        manifest_of(document)


def test_a_mask_has_two_classes() -> None:
    document = anomalib_manifest((8, 8), None, 0.5, {"mask_from": "pred_mask"})
    document["model_graph"]["pixel_level_classes"]["names"].append("rust")
    with pytest.raises(ManifestError, match="has 3 names; the mask of an anomalib stage has two classes"):
        manifest_of(document)


def test_torn_files_are_no_onnx(tmp_path: Path) -> None:
    path = make_anomalib_package(tmp_path / "bolts")
    file = path / "anomalib" / "model.onnx"
    whole = file.read_bytes()
    for size in range(0, len(whole), 97):
        file.write_bytes(whole[:size])
        with pytest.raises(EngineError, match="does not load"):
            load(path)
