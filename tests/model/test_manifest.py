"""manifest.json: what is read, and one message per mistake that names the exact key."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict

import pytest
from support.packages import make_manifest

from edge_agent.errors import ManifestError
from edge_agent.model.manifest import Manifest, parse_manifest

Document = Dict[str, Any]


def document() -> Document:
    return make_manifest((96, 128), (240, 320), ["background", "scratch"], "both", 0.5)


def parse(content: Document) -> Manifest:
    return parse_manifest(json.dumps(content).encode(), "manifest.json")


def stage_of(content: Document) -> Document:
    stage: Document = content["model_graph"]["stages"][0]
    return stage


def test_reads_what_it_needs_and_tolerates_the_rest() -> None:
    content = document()
    content.update(compilable_models=[{"filename": "mochi.pt"}], anything={"else": 1})
    content["package"] = {"name": "bolts", "version": "3.0.0", "model_arn": "arn:x", "built": "yesterday"}
    content["performance"] = {"f1": 0.9}
    content["training"] = {"seed": 1, "images": ["a"]}
    stage_of(content)["OOD_by_transform_preprocessor"] = True
    manifest = parse(content)
    assert manifest.mask_size == (240, 320)
    assert (manifest.package.name, manifest.package.version, manifest.package.model_arn) == ("bolts", "3.0.0", "arn:x")
    assert (manifest.performance, manifest.training) == ({"f1": 0.9}, {"seed": 1, "images": ["a"]})
    assert manifest.pixel_class_names == ("background", "scratch")


def test_normal_ids_come_from_the_class_table_where_the_stage_has_none() -> None:
    content = document()
    del stage_of(content)["class_normal_ids"], stage_of(content)["seg_normal_ids"]
    manifest = parse(content)
    assert (manifest.class_normal_ids, manifest.seg_normal_ids) == ((1,), (0,))


def test_empty_pixel_names_mean_no_mask() -> None:
    content = document()
    content["model_graph"]["pixel_level_classes"] = {"names": [], "normal_ids": []}
    assert parse(content).mask_size is None


def set_stage(key: str, value: Any) -> Callable[[Document], None]:
    return lambda content: stage_of(content).update({key: value})


def drop_stage(key: str) -> Callable[[Document], None]:
    return lambda content: stage_of(content).pop(key) and None


def set_graph(key: str, value: Any) -> Callable[[Document], None]:
    return lambda content: content["model_graph"].update({key: value})


def set_units(minimum: Any, maximum: Any) -> Callable[[Document], None]:
    return lambda content: content.update(package={"min_inference_units": minimum, "max_inference_units": maximum})


S = r"manifest\.json: model_graph\.stages\[0\]\."
G = r"manifest\.json: model_graph\."
MISTAKES = [
    (lambda c: c.pop("model_graph") and None, r"manifest\.json: model_graph: is missing"),
    (lambda c: c["model_graph"].pop("stages") and None, G + "stages: is missing"),
    (set_graph("stages", []), G + "stages: holds 0 stages; a single-stage graph has exactly one"),
    (set_graph("model_graph_type", "two_stage_model_graph"), G + "model_graph_type: is 'two_stage_model_graph'"),
    (set_stage("type", "torrone"), S + "type: is 'torrone', a stage type that is not supported"),
    (lambda c: c["model_graph"].update(stages=[{"type": "dango"}]), S + "type: is 'dango'"),
    (drop_stage("type"), S + "type: is missing"),
    (drop_stage("threshold"), S + "threshold: is missing"),
    (drop_stage("normalize"), S + "normalize: is missing"),
    (set_stage("threshold", "high"), S + "threshold: has the wrong type: expected `float`, got `str`"),
    (set_stage("threshold", None), S + "threshold: has the wrong type"),
    (set_stage("image_width", 12.5), S + "image_width: has the wrong type"),
    (set_stage("image_width", 0), S + "image_width: is 0, not 1 to 4096 pixels"),
    (set_stage("image_height", 5000), S + "image_height: is 5000"),
    (set_stage("input_shape", [1, 3, 128, 96]), S + r"input_shape: is \[1, 3, 128, 96\], but .* \[1, 3, 96, 128\]"),
    (set_stage("raw_image_shape", [240]), S + r"raw_image_shape: is \[240\], not \[height, width\]"),
    (set_stage("raw_image_shape", [0, 320]), S + r"raw_image_shape: is \[0, 320\]"),
    (drop_stage("raw_image_shape"), S + "raw_image_shape: is missing; the segmentation head needs it"),
    (set_stage("class_normal_ids", [2]), S + "class_normal_ids: holds 2, but image_level_classes has 2 names"),
    (set_stage("seg_normal_ids", [-1]), S + "seg_normal_ids: holds -1, but pixel_level_classes has 2 names"),
    (set_graph("image_level_classes", {}), G + r"image_level_classes\.names: is empty"),
    (
        set_graph("pixel_level_classes", {"names": ["x"] * 105, "normal_ids": [0]}),
        G + r"pixel_level_classes\.names: has 105 names; the palette has 104",
    ),
    (set_stage("interpolation", 7), S + "interpolation: is 7"),
    (set_stage("transform_preprocessing", "polar_transform"), S + "transform_preprocessing: is 'polar_transform'"),
    (set_stage("classification_logic", "vote"), S + "classification_logic: is 'vote', not one of cls_head"),
    (lambda c: stage_of(c).update(calibrated=True), S + "calibrator_scaling: is missing, but the stage is calibrated"),
    (
        lambda c: stage_of(c).update(classification_head_enabled=False, classification_logic="cls_or_seg"),
        S + "classification_logic: is 'cls_or_seg', but the classification head is off",
    ),
    (
        lambda c: stage_of(c).update(segmentation_head_enabled=False, classification_logic="seg_head"),
        S + "classification_logic: is 'seg_head', but the model reports no mask",
    ),
    (
        lambda c: stage_of(c).update(classification_head_enabled=False, segmentation_head_enabled=False),
        S + "classification_head_enabled: is false, and so is segmentation_head_enabled",
    ),
    (lambda c: c.update(package={"version": 3}), r"manifest\.json: package\.version: has the wrong type"),
    (set_units(0, 1), r"manifest\.json: package\.min_inference_units: is 0, not 1 to 64"),
    (set_units(3, 2), r"manifest\.json: package\.max_inference_units: is 2, not 3 to 64"),
    (set_units(None, 65), r"manifest\.json: package\.max_inference_units: is 65, not 1 to 64"),
    (set_units(1, "2"), r"manifest\.json: package\.max_inference_units: has the wrong type"),
    (lambda c: c.update(runtime=1), r"manifest\.json: runtime: has the wrong type"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_each_mistake_names_its_key(change: Callable[[Document], None], message: str) -> None:
    content = document()
    change(content)
    with pytest.raises(ManifestError, match="^" + message):
        parse(content)


@pytest.mark.parametrize("data", [b"", b"{", b"[1, 2", b"\xff\xfe", b'{"a": 1} trailing', b"[" * 100_000])
def test_what_is_not_json_is_said_so(data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.json: is not valid JSON"):
        parse_manifest(data, "manifest.json")


@pytest.mark.parametrize("data", [b"[]", b"null", b'"text"'])
def test_json_of_another_shape_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError, match="has the wrong type"):
        parse_manifest(data, "manifest.json")


def test_a_number_too_large_for_a_float_is_refused() -> None:
    text = json.dumps(document()).replace('"threshold": 0.5', '"threshold": 1e999')
    with pytest.raises(ManifestError):
        parse_manifest(text.encode(), "manifest.json")


def test_a_network_that_takes_pixels_has_another_shape_and_is_of_onnx() -> None:
    content = document()
    stage = stage_of(content)
    stage["takes_pixels"] = True
    with pytest.raises(ManifestError, match=r"input_shape: is \[1, 3, 96, 128\], but .* \[1, 96, 128, 3\]"):
        parse(content)
    stage["input_shape"] = [1, 96, 128, 3]
    assert parse(content).stage.network_input == ((1, 96, 128, 3), "uint8")
    content["runtime"] = "openvino"
    with pytest.raises(ManifestError, match=r"takes_pixels: is true, which only the runtime 'onnx' can do"):
        parse(content)
