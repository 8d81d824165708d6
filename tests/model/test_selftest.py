"""Golden images: what a package says of itself is checked, whatever a stranger wrote there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List

import msgspec
import numpy as np
import onnx
import pytest
from PIL import Image
from support.packages import make_package, zip_package

from edge_agent.errors import ManifestError, ModelError, PackageError, SelfTestError
from edge_agent.model import load_model, open_package, self_test
from edge_agent.model.golden import MAX_IMAGES
from edge_agent.model.selftest import GoldenSource, record_golden


def part(red: int = 0) -> np.ndarray:
    """A grey part with a red patch of `red` by `red` pixels."""
    pixels = np.full((240, 320, 3), 128, dtype=np.uint8)
    pixels[100 : 100 + red, 100 : 100 + red] = (230, 10, 10)
    return pixels


def load_and_test(path: Path) -> None:
    with open_package(path) as package:
        model = load_model(package, threads=1)
        try:
            self_test(model, package)
        finally:
            model.close()


def change(path: Path, **golden: Any) -> None:
    document = json.loads((path / "manifest.json").read_text())
    document["package"].setdefault("golden", {}).update(golden)
    (path / "manifest.json").write_text(json.dumps(document))


def with_golden(path: Path, *sizes: int) -> Path:
    """`path` with a golden image for each size of the red patch, recorded by its own model."""
    with open_package(path) as package:
        model = load_model(package, threads=1)
    golden = record_golden(model, path, [GoldenSource(f"red-{size}", part(size)) for size in sizes])
    model.close()
    change(path, **msgspec.to_builtins(golden))
    return path


@pytest.fixture
def bolts(tmp_path: Path) -> Path:
    return with_golden(make_package(tmp_path / "bolts", threshold=0.5), 0, 60)


def entries(path: Path) -> List[Dict[str, Any]]:
    listed: List[Dict[str, Any]] = json.loads((path / "manifest.json").read_text())["package"]["golden"]["images"]
    return listed


def test_a_package_without_golden_images_has_nothing_to_test(tmp_path: Path) -> None:
    load_and_test(make_package(tmp_path / "bolts"))


def test_a_model_passes_its_own_images_from_directory_and_zip(bolts: Path, tmp_path: Path) -> None:
    normal, red = entries(bolts)
    assert (normal["file"], normal["is_anomalous"], normal["areas"]) == ("golden/red-0.png", False, {"background": 1.0})
    assert red["score"] > 0.9
    assert red["is_anomalous"] is True
    assert red["areas"]["scratch"] == pytest.approx(60 * 60 / (240 * 320), rel=0.1)
    load_and_test(bolts)
    load_and_test(zip_package(bolts, tmp_path / "bolts.zip", top="inner"))


def test_another_model_in_the_package_is_found_out(bolts: Path) -> None:
    file = str(bolts / "mochi" / "model.onnx")
    network = onnx.load(file)
    bias = next(weights for weights in network.graph.initializer if weights.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([60, 0, 0], dtype=np.float32), "bias"))
    onnx.save(network, file)
    with pytest.raises(SelfTestError) as caught:
        load_and_test(bolts)
    assert isinstance(caught.value, ModelError)
    expected = entries(bolts)[1]["score"]
    assert str(caught.value).startswith(
        f"bolts: golden image golden/red-60.png: expected the score {expected:g}, found "
    )
    assert "a difference of 1 where 0.01 is allowed (1 of 2 golden images differ)" in str(caught.value)


def test_the_tolerance_is_the_manifests_and_grows_with_large_scores(bolts: Path) -> None:
    images = entries(bolts)
    for image in images:
        image["score"] += 0.03
        del image["is_anomalous"]
    change(bolts, images=images)
    with pytest.raises(SelfTestError, match=r"a difference of 0\.03 where 0\.01 is allowed \(2 of 2"):
        load_and_test(bolts)
    change(bolts, tolerance=0.04)
    load_and_test(bolts)
    images[1]["score"] = 30.0
    change(bolts, images=images, tolerance=0.9)
    with pytest.raises(SelfTestError, match=r"expected the score 30, .* where 27 is allowed"):
        load_and_test(bolts)


def test_verdict_and_areas_are_checked(bolts: Path) -> None:
    images = entries(bolts)
    images[0]["is_anomalous"] = True
    change(bolts, images=images)
    with pytest.raises(
        SelfTestError,
        match=r"golden/red-0\.png: expected anomalous, found normal: score [\d.e-]+ \(expected 0\), threshold 0\.5",
    ):
        load_and_test(bolts)
    images = entries(bolts)
    images[0]["is_anomalous"] = False
    images[1]["areas"] = {"background": images[1]["areas"]["background"]}
    change(bolts, images=images)
    with pytest.raises(SelfTestError, match=r"expected 0 of the mask to be 'scratch', found 0\.04.*0\.002 is allowed"):
        load_and_test(bolts)
    change(bolts, area_tolerance=0.06)
    load_and_test(bolts)


def test_a_verdict_that_could_fall_either_way_is_not_recorded(tmp_path: Path) -> None:
    path = make_package(tmp_path / "bolts")
    with open_package(path) as package:
        model = load_model(package, threads=1)
    score = model.detect(part(60)).score
    near = with_golden(make_package(tmp_path / "near", threshold=score - 0.005), 60)
    assert "is_anomalous" not in entries(near)[0]
    by_mask = with_golden(make_package(tmp_path / "mask", stage={"classification_logic": "cls_or_seg"}), 60)
    assert "is_anomalous" not in entries(by_mask)[0]


def test_a_model_without_a_mask_has_no_areas(tmp_path: Path) -> None:
    path = with_golden(make_package(tmp_path / "bolts", heads="class"), 0, 60)
    assert all("areas" not in entry for entry in entries(path))
    load_and_test(path)


FOREIGN = {
    "too many": ({"images": [{"file": f"golden/{i}.png", "score": 0} for i in range(MAX_IMAGES + 1)]}, "at most 16"),
    "a path": ({"images": [{"file": "golden/../../x.png", "score": 0}]}, r"golden\.images\[0\]\.file: is 'golden/\.\."),
    "another directory": ({"images": [{"file": "mochi/x.png", "score": 0}]}, r"not of the form golden/NAME\.png"),
    "a hidden file": ({"images": [{"file": "golden/.x.png", "score": 0}]}, r"not of the form golden/NAME\.png"),
    "no string": ({"images": [{"file": 7, "score": 0}]}, r"package\.golden\.images\[0\]\.file: has the wrong type"),
    "no score": ({"images": [{"file": "golden/x.png"}]}, r"package\.golden\.images\[0\]\.score: is missing"),
    "twice": ({"images": [{"file": "golden/x.png", "score": 0}] * 2}, r"images\[1\]\.file: .*listed twice"),
    "no class": ({"images": [{"file": "golden/x.png", "score": 0, "areas": {"rust": 0.1}}]}, "names 'rust'"),
    "no area": ({"images": [{"file": "golden/x.png", "score": 0, "areas": {"scratch": 1.1}}]}, "1.1, not 0 to 1"),
    "tolerance": ({"tolerance": -0.1}, r"package\.golden\.tolerance: is -0\.1, not 0 to 1"),
    "area tolerance": ({"area_tolerance": 2}, r"package\.golden\.area_tolerance: is 2\.0, not 0 to 1"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_a_manifest_may_not_say(tmp_path: Path, case: str) -> None:
    golden, message = FOREIGN[case]
    path = make_package(tmp_path / "bolts")
    change(path, **golden)
    with pytest.raises(ManifestError, match=message):
        open_package(path)


def test_areas_need_a_mask(tmp_path: Path) -> None:
    path = make_package(tmp_path / "bolts", heads="class")
    change(path, images=[{"file": "golden/x.png", "score": 0, "areas": {"background": 1.0}}])
    with pytest.raises(ManifestError, match="names 'background', which is no class of the model's mask"):
        open_package(path)


def test_images_that_are_none_of_ours(bolts: Path, tmp_path: Path) -> None:
    file = bolts / "golden" / "red-0.png"
    whole = file.read_bytes()

    def refused(message: str) -> None:
        with pytest.raises(PackageError, match=message):
            load_and_test(bolts)

    file.write_bytes(whole[: len(whole) // 2])
    refused(r"bolts: golden/red-0\.png: cannot be read as a PNG")
    file.write_bytes(b"GIF89a")
    refused(r"golden/red-0\.png: cannot be read as a PNG")
    Image.new("RGB", (4097, 64)).save(file)
    refused("has 4097x64 pixels; each side must have 64 to 4096")
    Image.new("RGBA", (64, 64)).save(file)
    refused("is a PNG of mode RGBA, not RGB or L")
    with file.open("wb") as stream:
        stream.truncate(64 * 1024 * 1024 + 1)
    refused("is larger than 67108864 bytes")
    file.unlink()
    refused(r"has no file golden/red-0\.png")
    shutil.copy(bolts / "golden" / "red-60.png", tmp_path / "outside.png")
    file.symlink_to(tmp_path / "outside.png")
    refused("lies outside the package")
