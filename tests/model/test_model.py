"""A whole model through the real ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import pytest
from model import reference
from support.packages import CLASS_NAMES, make_manifest, make_package, zip_package

from edge_agent.errors import EngineError, ImageError
from edge_agent.model import Model, load_model, open_package


def load(path: Path, threads: int = 1) -> Model:
    with open_package(path) as package:
        return load_model(package, threads=threads)


def picture(height: int, width: int, *spots: Tuple[int, int, int, int, Tuple[int, int, int]]) -> np.ndarray:
    pixels = np.full((height, width, 3), 128, dtype=np.uint8)
    for top, left, bottom, right, colour in spots:
        pixels[top:bottom, left:right] = colour
    return pixels


@pytest.mark.parametrize("threads", [1, 2])
def test_sees_what_is_there(tmp_path: Path, threads: int) -> None:
    source = make_package(tmp_path / "bolts", classes=CLASS_NAMES)
    model = load(zip_package(source, tmp_path / "bolts.zip"), threads)  # its files are gone by now
    model.warm_up()
    clean = model.detect(picture(240, 320))
    assert not clean.is_anomalous
    assert clean.confidence > 0.99
    assert [(a.name, a.area) for a in clean.anomalies] == [("background", 1.0)]
    assert (clean.mask == 255).all()

    verdict = model.detect(picture(240, 320, (40, 40, 80, 120, (230, 10, 10)), (120, 200, 160, 240, (10, 230, 10))))
    assert verdict.is_anomalous
    assert [a.name for a in verdict.anomalies] == ["background", "scratch", "dent"]
    assert [a.hex_color for a in verdict.anomalies] == ["#FFFFFF", "#23A436", "#14A3B3"]
    assert verdict.anomalies[1].area == pytest.approx(40 * 80 / (240 * 320), rel=0.1)
    assert verdict.mask.shape == (240, 320, 3)
    assert verdict.mask[60, 80].tolist() == [0x23, 0xA4, 0x36]
    assert verdict.mask[140, 220].tolist() == [0x14, 0xA3, 0xB3]
    assert min(verdict.timings.preprocess, verdict.timings.inference, verdict.timings.postprocess) > 0
    model.close()


@pytest.mark.parametrize("heads", ["both", "class", "seg"])
@pytest.mark.parametrize("shape", [(64, 64), (500, 333), (96, 128)])
def test_equals_the_reference_end_to_end(tmp_path: Path, heads: str, shape: Tuple[int, int]) -> None:
    import onnxruntime

    path = make_package(tmp_path / "bolts", heads=heads, raw_image_shape=(187, 411), threshold=0.3)
    stage = make_manifest((96, 128), (187, 411), CLASS_NAMES[:3], heads, 0.3)["model_graph"]["stages"][0]
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pixels[10:40, 10:40] = (230, 10, 10)
    session = onnxruntime.InferenceSession(str(path / "mochi" / "model.onnx"), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"input": reference.preprocess(pixels, stage)})
    names = list(CLASS_NAMES[:3]) if heads != "class" else []
    anomalous, confidence, score, found, mask = reference.postprocess(outputs, stage, names)

    model = load(path)
    out = np.zeros((187, 411, 3), np.uint8) if heads != "class" else None
    verdict = model.detect(pixels, out)
    assert model.mask_size_for(*shape) == (None if heads == "class" else (187, 411))
    assert verdict.is_anomalous is anomalous
    assert verdict.score == pytest.approx(score, abs=1e-6)
    assert verdict.confidence == pytest.approx(confidence, abs=1e-6)
    assert [(a.name, a.area, a.hex_color) for a in verdict.anomalies] == found
    if mask is None:
        assert verdict.mask is None
    else:
        assert verdict.mask is out
        np.testing.assert_array_equal(out, mask)


def test_read_only_pixels_are_enough(tmp_path: Path) -> None:
    model = load(make_package(tmp_path / "bolts"))
    pixels = np.frombuffer(picture(64, 64).tobytes(), dtype=np.uint8).reshape(64, 64, 3)
    assert not pixels.flags.writeable
    assert not model.detect(pixels).is_anomalous


def test_wrong_arrays_are_refused(tmp_path: Path) -> None:
    model = load(make_package(tmp_path / "bolts", raw_image_shape=(100, 100)))
    with pytest.raises(ImageError, match=r"has shape \(64, 64\)"):
        model.detect(np.zeros((64, 64), np.uint8))
    for mask in (
        np.zeros((99, 100, 3), np.uint8),
        np.zeros((100, 100, 3), np.float32),
        np.zeros((200, 100, 3), np.uint8)[::2],
    ):
        with pytest.raises(ImageError, match="mask_out"):
            model.detect(picture(64, 64), mask)


UNFIT: Dict[str, Tuple[Dict[str, Any], str]] = {
    "more pixel classes than the manifest": (
        {"channels": 4},
        (
            r"mochi/model\.onnx: its outputs do not fit its manifest: expected mask \[1, 3, \?, \?\], class \[1, 2\]; "
            r"found \[1, 4, 96, 128\], \[1, 2\]"
        ),
    ),
    "a head that is not there": (
        {"heads": "class", "stage": {"segmentation_head_enabled": True}},
        r"expected mask \[1, \?, \?, \?\], class \[1, 2\]; found \[1, 2\]",
    ),
    "a head too many": (
        {"heads": "both", "stage": {"segmentation_head_enabled": False}},
        r"expected class \[1, 2\]; found \[1, 3, 96, 128\], \[1, 2\]",
    ),
    "another input": (
        {"stage": {"input_shape": None, "image_width": 64}},
        (
            r"its input does not fit its manifest: expected float32 \[1, 3, 96, 64\]; "
            r"found float32 \[1, 3, 96, 128\]"
        ),
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_model_that_does_not_fit_its_manifest(tmp_path: Path, case: str) -> None:
    options, message = UNFIT[case]
    path = make_package(tmp_path / "bolts", **options)
    with pytest.raises(EngineError, match=message):
        load(path)


def test_symbolic_sizes_are_checked_when_the_model_has_run(tmp_path: Path) -> None:
    import onnx

    path = make_package(tmp_path / "bolts", channels=4)
    file = str(path / "mochi" / "model.onnx")
    network = onnx.load(file)
    network.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"
    onnx.save(network, file)
    with pytest.raises(EngineError, match=r"found \[1, 4, 96, 128\], \[1, 2\]"):
        load(path)


@pytest.mark.parametrize("data", [b"", b"no model", None])
def test_a_torn_model_is_one_error(tmp_path: Path, data: Any) -> None:
    path = make_package(tmp_path / "bolts")
    file = path / "mochi" / "model.onnx"
    file.write_bytes(file.read_bytes()[:400] if data is None else data)
    with pytest.raises(EngineError, match=r"mochi/model\.onnx: does not load"):
        load(path)


def test_thresholds_and_logic_reach_the_verdict(tmp_path: Path) -> None:
    path = make_package(tmp_path / "bolts", stage={"classification_logic": "cls_and_seg"})
    manifest = json.loads((path / "manifest.json").read_text())
    assert load(path).detect(picture(96, 128, (0, 0, 30, 30, (230, 10, 10)))).is_anomalous
    manifest["model_graph"]["stages"][0].update(classification_logic="seg_head", seg_normal_ids=[0, 1])
    (path / "manifest.json").write_text(json.dumps(manifest))
    verdict = load(path).detect(picture(96, 128, (0, 0, 30, 30, (230, 10, 10))))
    assert not verdict.is_anomalous
    assert verdict.confidence == pytest.approx(1 - verdict.score)
