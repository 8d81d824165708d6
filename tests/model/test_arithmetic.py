"""Pre- and post-processing against the literal reference: scores to 1e-6, tensors, masks and areas bit for bit."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model import reference
from support.packages import make_manifest

from edge_agent.errors import EngineError, ImageError
from edge_agent.model.manifest import Manifest, parse_manifest
from edge_agent.model.palette import HEX_COLORS, MAX_CLASSES, rgb_table
from edge_agent.model.postprocess import Postprocessor
from edge_agent.model.preprocess import Preprocessor

sides = st.integers(1, 300)
fractions = st.floats(0, 1, width=32)
examples = settings(max_examples=150, deadline=None)


def manifest_of(stage: Dict[str, Any], pixel_names: List[str], image_names: List[str]) -> Manifest:
    document = make_manifest((stage["image_height"], stage["image_width"]), (1, 1), pixel_names, "both", 0.5)
    document["model_graph"]["stages"][0] = {"type": "mochi", **stage}
    document["model_graph"]["image_level_classes"] = {"names": image_names, "normal_ids": [0]}
    return parse_manifest(json.dumps(document).encode(), "manifest.json")


@st.composite
def stages(draw: st.DrawFn) -> Dict[str, Any]:
    return {
        "image_width": draw(st.integers(1, 96)),
        "image_height": draw(st.integers(1, 96)),
        "image_range_scale": draw(st.booleans()),
        "normalize": draw(st.booleans()),
        "threshold": draw(fractions),
    }


@examples
@given(stage=stages(), height=sides, width=sides, kind=st.sampled_from(["hw", 1, 3, 4]), data=st.data())
def test_preprocessing_is_the_reference_bit_for_bit(
    stage: Dict[str, Any], height: int, width: int, kind: Any, data: st.DataObject
) -> None:
    stage["interpolation"] = data.draw(st.sampled_from([0, 1, 2, 3, 4]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    shape = (height, width) if kind == "hw" else (height, width, kind)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    expected = reference.preprocess(pixels, stage)
    tensor = Preprocessor(manifest_of(stage, ["background"], ["a", "b"]).stage).run(pixels)
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor, expected)


@st.composite
def decisions(draw: st.DrawFn) -> Tuple[Dict[str, Any], List[str], List[str], List[np.ndarray]]:
    stage = draw(stages())
    heads = draw(st.sampled_from(["both", "class", "seg"]))
    class_head, seg_head = heads != "seg", heads != "class"
    pixel_names = [f"label{i}" for i in range(draw(st.integers(1, 21)))]
    image_names = [f"class{i}" for i in range(draw(st.integers(1, 5)))]
    logics = [None]
    if class_head:
        logics.append("cls_head")
    if seg_head:
        logics.append("seg_head")
    if heads == "both":
        logics += ["cls_and_seg", "cls_or_seg"]
    stage.update(
        classification_head_enabled=class_head,
        segmentation_head_enabled=seg_head,
        class_normal_ids=draw(st.lists(st.integers(0, len(image_names) - 1), max_size=2)),
        seg_normal_ids=draw(st.lists(st.integers(0, len(pixel_names) - 1), max_size=2)),
        raw_image_shape=[draw(sides), draw(sides)],
        calibrated=draw(st.booleans()),
        max_val_score=draw(st.floats(0.1, 20)),
        calibrator_scaling=draw(st.floats(-20, 20)),
        calibrator_shift=draw(st.floats(-20, 20)),
        seg_recall_bias=draw(st.sampled_from([0.0, 0.1, -0.3, 0.5])),
        classification_logic=draw(st.sampled_from(logics)),
    )
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Few levels, so that channels tie often and the first of equals matters.
    levels = draw(st.sampled_from([2, 5, 2**20]))
    shape = (1, len(pixel_names), draw(st.integers(1, 96)), draw(st.integers(1, 96)))
    mask = (random.integers(0, levels, shape) / levels).astype(np.float32)
    classes = random.random((1, len(image_names)), dtype=np.float32)
    if draw(st.booleans()):
        classes /= classes.sum()
    outputs = ([mask] if seg_head else []) + ([classes] if class_head else [])
    return stage, pixel_names, image_names, outputs


@examples
@given(case=decisions())
def test_decision_is_the_reference(case: Tuple[Dict[str, Any], List[str], List[str], List[np.ndarray]]) -> None:
    stage, pixel_names, image_names, outputs = case
    manifest = manifest_of(stage, pixel_names, image_names)
    before = [output.copy() for output in outputs]
    anomalous, confidence, score, found, mask = reference.postprocess(outputs, stage, pixel_names)
    seg_head = stage["segmentation_head_enabled"]
    processor = Postprocessor(manifest, outputs[0].shape[2:] if seg_head else None)
    out = np.zeros((*manifest.mask_size, 3), dtype=np.uint8) if manifest.mask_size else None

    for target in (None, out):
        verdict = processor.run(outputs, target)
        assert verdict.score == pytest.approx(score, abs=1e-6)
        # The reference adds floats one by one; a score within a rounding error of the edge may fall on either side.
        if abs(round(score, 4) - round(stage["threshold"], 4)) > 1e-9 or verdict.score == score:
            assert verdict.is_anomalous is anomalous
            assert verdict.confidence == pytest.approx(confidence, abs=1e-6)
        assert [(a.name, a.area, a.hex_color) for a in verdict.anomalies] == found
        if mask is None:
            assert verdict.mask is None
        else:
            np.testing.assert_array_equal(verdict.mask, mask)
            assert target is None or verdict.mask is target
    for output, kept in zip(outputs, before):
        np.testing.assert_array_equal(output, kept)  # the engine's buffers are not ours to change


def decide(class_outputs: List[float], **stage: Any) -> Any:
    base = {"image_width": 8, "image_height": 8, "image_range_scale": True, "normalize": True, "threshold": 0.7}
    manifest = manifest_of({**base, "class_normal_ids": [1], **stage}, ["background"], ["anomaly", "normal"])
    return Postprocessor(manifest, None).run([np.array([class_outputs], dtype=np.float32)])


def test_confidence_is_of_the_verdict_and_may_be_below_one_half() -> None:
    verdict = decide([0.69, 0.31])
    assert not verdict.is_anomalous
    assert verdict.confidence == pytest.approx(0.31)
    assert (verdict.score, verdict.threshold) == (pytest.approx(0.69), 0.7)


@pytest.mark.parametrize(("score", "anomalous"), [(0.69994, False), (0.69996, True), (0.7, True), (0.7001, True)])
def test_threshold_is_compared_at_four_decimals(score, anomalous) -> None:
    assert decide([score, 0.0]).is_anomalous is anomalous


def test_confidence_is_clipped() -> None:
    assert decide([1.5, 0.0]).confidence == 1.0
    assert decide([-0.5, 0.0]).confidence == 1.0


def test_calibration_has_scikit_learns_signs_and_never_overflows() -> None:
    calibrated = {"calibrated": True, "calibrator_scaling": -3.1, "calibrator_shift": 1.5}
    assert decide([0.8, 0.2], **calibrated).score == pytest.approx(1 / (1 + np.exp(-3.1 * 0.8 + 1.5)), abs=1e-6)
    scaled = decide([0.8, 0.2], **calibrated, max_val_score=4.0)
    assert scaled.score == pytest.approx(1 / (1 + np.exp(-3.1 * 0.2 + 1.5)), abs=1e-6)
    assert decide([1.0, 0.0], **{**calibrated, "calibrator_scaling": 1e6}).score == 0.0
    assert decide([1.0, 0.0], **{**calibrated, "calibrator_scaling": -1e6}).score == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_an_error(value: float) -> None:
    with pytest.raises(EngineError, match="which is no probability"):
        decide([value, 0.0])


def test_a_mask_that_holds_no_numbers_is_an_error() -> None:
    stage = {"image_width": 8, "image_height": 8, "image_range_scale": True, "normalize": True, "threshold": 0.7}
    stage.update(segmentation_head_enabled=True, raw_image_shape=[16, 16])
    manifest = manifest_of(stage, ["background", "scratch"], ["anomaly", "normal"])
    mask = np.zeros((1, 2, 8, 8), dtype=np.float32)
    mask[0, 1, 3, 3] = np.nan
    with pytest.raises(EngineError, match="no numbers"):
        Postprocessor(manifest, (8, 8)).run([mask, np.array([[0.1, 0.9]], dtype=np.float32)])


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_pixels_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ImageError):
        Preprocessor(manifest_of({**BASE}, ["background"], ["a"]).stage).run(pixels)


BASE = {"image_width": 8, "image_height": 8, "image_range_scale": True, "normalize": True, "threshold": 0.5}


def test_palette_starts_with_the_published_colours_and_repeats_none() -> None:
    assert list(HEX_COLORS[:21]) == reference.PALETTE
    assert len(HEX_COLORS) == len(set(HEX_COLORS)) == MAX_CLASSES == 104
    assert all(len(colour) == 7 and colour == colour.upper() for colour in HEX_COLORS)
    assert rgb_table()[1].tolist() == [0x23, 0xA4, 0x36]


def test_all_104_classes_paint_their_own_colour() -> None:
    names = [f"label{i}" for i in range(MAX_CLASSES)]
    stage = {**BASE, "segmentation_head_enabled": True, "raw_image_shape": [1, MAX_CLASSES * 3]}
    manifest = manifest_of(stage, names, ["anomaly"])
    mask = np.eye(MAX_CLASSES, dtype=np.float32)[None, :, None, :]
    verdict = Postprocessor(manifest, (1, MAX_CLASSES)).run([mask, np.array([[0.0]], dtype=np.float32)])
    assert [a.hex_color for a in verdict.anomalies] == list(HEX_COLORS)
    assert sum(a.area for a in verdict.anomalies) == pytest.approx(1.0)
    np.testing.assert_array_equal(verdict.mask[0, ::3], rgb_table())
