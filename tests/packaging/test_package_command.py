"""`edge-agent package`: files of networks in, packages that the model server loads out, or one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from PIL import Image
from support.anomalib import ALL, make_export, to_openvino
from support.packages import make_package

from edge_agent.cli.package import package as command
from edge_agent.errors import EdgeAgentError, EngineError, PackageError, SelfTestError
from edge_agent.model import Model, load_model, open_package, self_test


def part(red: int = 0) -> np.ndarray:
    pixels = np.full((240, 320, 3), 128, dtype=np.uint8)
    pixels[100 : 100 + red, 100 : 100 + red] = (230, 10, 10)
    return pixels


@pytest.fixture
def images(tmp_path: Path) -> Path:
    directory = tmp_path / "images"
    directory.mkdir()
    Image.fromarray(part()).save(directory / "good part.jpg", quality=95)
    Image.fromarray(part(60)).save(directory / "bad part.png")
    (directory / "notes.txt").write_text("not an image")
    return directory


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "models"


def run(file: Path, store: Path, *options: object, name: str = "bolts") -> Dict[str, Any]:
    """The manifest that the command wrote."""
    arguments = [str(file), "--name", name, "--out", str(store), "--json", *map(str, options)]
    done = CliRunner().invoke(command, arguments, catch_exceptions=True)
    if isinstance(done.exception, EdgeAgentError):
        raise done.exception
    assert done.exit_code == 0, done.output
    document: Dict[str, Any] = json.loads(done.stdout)["manifest"]
    return document


def load(path: Path) -> Model:
    with open_package(path) as package:
        model = load_model(package, threads=1)
        self_test(model, package)
    return model


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("form", ["directory", "zip"])
def test_an_export_becomes_a_package_that_passes_its_own_test(
    tmp_path: Path, store: Path, images: Path, runtime: str, form: str
) -> None:
    file = make_export(tmp_path / "export" / "model.onnx", external="model.onnx.data")
    if runtime == "openvino":
        file = to_openvino(file, tmp_path / "ir" / "model.xml")
    manifest = run(file, store, "--golden", images, "--class", "rust", *(["--zip"] if form == "zip" else []))
    path = store / ("bolts.zip" if form == "zip" else "bolts")
    assert list(store.iterdir()) == [path]
    model = load(path)
    verdict = model.detect(part(60))
    model.close()
    assert verdict.is_anomalous
    assert [a.name for a in verdict.anomalies] == ["background", "rust"]
    assert verdict.mask.shape == (240, 320, 3)
    bad, good = manifest["package"]["golden"]["images"]
    assert (bad["file"], bad["is_anomalous"]) == ("golden/bad_part.png", True)
    assert (good["file"], good["is_anomalous"]) == ("golden/good_part.png", False)
    assert set(bad["areas"]) == {"background", "rust"}
    assert manifest["runtime"] == runtime
    if form == "directory":
        suffixes = {"onnx": {".onnx", ".data"}, "openvino": {".xml", ".bin"}}[runtime]
        assert {entry.suffix for entry in (path / "anomalib").iterdir()} == suffixes


OUTPUTS: List[Tuple[Tuple[str, ...], List[str], Dict[str, Any]]] = [
    (ALL, [], {"mask_from": "pred_mask"}),
    (ALL, ["--no-mask"], {}),
    (ALL, ["--pixel-threshold", "0.4"], {"mask_from": "anomaly_map", "pixel_threshold": 0.4}),
    (("pred_score",), [], {}),
    (("anomaly_map",), [], {"score_from": "anomaly_map", "mask_from": "anomaly_map", "pixel_threshold": 0.5}),
    (("pred_label",), [], {"score_from": "pred_label"}),
]


@pytest.mark.parametrize(("outputs", "options", "keys"), OUTPUTS)
def test_what_the_export_has_decides_what_is_used(
    tmp_path: Path, store: Path, outputs: Tuple[str, ...], options: List[str], keys: Dict[str, Any]
) -> None:
    manifest = run(make_export(tmp_path / "model.onnx", outputs=outputs), store, *options)
    stage = manifest["model_graph"]["stages"][0]
    assert stage["anomalib"] == keys
    assert stage["segmentation_head_enabled"] is ("mask_from" in keys)
    assert "golden" not in manifest["package"]
    assert load(store / "bolts").detect(part(60)).is_anomalous


def test_an_open_size_is_the_maps_or_the_one_asked_for(tmp_path: Path, store: Path) -> None:
    open_size = {"batch": "batch_size", "open_size": True}
    stage = run(make_export(tmp_path / "m.onnx", size=(64, 80), **open_size), store)["model_graph"]["stages"][0]
    assert (stage["image_width"], stage["image_height"]) == (80, 64)
    score_alone = make_export(tmp_path / "s.onnx", outputs=("pred_score",), **open_size)
    with pytest.raises(EngineError, match=r"s\.onnx: leaves the size of its input open\. Give it with --size"):
        run(score_alone, store, name="b")
    stage = run(score_alone, store, "--size", "200x100", name="b")["model_graph"]["stages"][0]
    assert (stage["image_width"], stage["image_height"]) == (200, 100)
    with pytest.raises(EngineError, match=r"takes images of 128x96, not of the size asked for"):
        run(make_export(tmp_path / "f.onnx"), store, "--size", "200x100", name="c")


def test_a_threshold_inside_that_is_not_one_half_is_noticed(tmp_path: Path, store: Path, images: Path) -> None:
    file = make_export(tmp_path / "model.onnx", threshold=0.95)
    with pytest.raises(
        PackageError,
        match=r"calls bad part normal at the score 0\.86\d+, so it decides by another threshold than 0\.5\. Give that",
    ):
        run(file, store, "--golden", images)
    assert list(store.iterdir()) == []
    run(file, store, "--golden", images, "--threshold", "0.95")
    assert not load(store / "bolts").detect(part(60)).is_anomalous


def test_raw_scores_must_be_said(tmp_path: Path, store: Path) -> None:
    file = make_export(tmp_path / "model.onnx", gain=40.0, threshold=20.0)
    with pytest.raises(PackageError, match=r"gives the score [\d.]+, so its scores are not scaled .* --raw-scores and"):
        run(file, store)
    with pytest.raises(PackageError, match=r"raw scores: need a threshold of their own, above 0"):
        run(file, store, "--raw-scores")
    run(file, store, "--raw-scores", "--threshold", 20)
    assert load(store / "bolts").detect(part(60)).confidence == pytest.approx(220 / 255, abs=1e-3)
    map_alone = make_export(tmp_path / "map.onnx", gain=40.0, threshold=20.0, outputs=("anomaly_map",))
    raw = ("--raw-scores", "--threshold", 20)
    with pytest.raises(PackageError, match=r"raw anomaly map and no mask of its own\. Say .* --pixel-threshold, or"):
        run(map_alone, store, *raw, name="map")
    run(map_alone, store, *raw, "--pixel-threshold", 20, name="map")
    assert [a.name for a in load(store / "map").detect(part(60)).anomalies] == ["background", "anomaly"]


def test_traps_of_exports_are_one_clear_error_each(tmp_path: Path, store: Path) -> None:
    two = make_export(tmp_path / "two.onnx", batch=2, score_shape=(2,), open_size=True)
    with pytest.raises(
        EngineError, match=r"two\.onnx: takes 2 images at a time, not one\. Export it anew for one: eng"
    ):
        run(two, store)
    halved = make_export(tmp_path / "halved.onnx", external="halved.onnx.data")
    (tmp_path / "halved.onnx.data").unlink()
    with pytest.raises(
        PackageError, match=r"halved\.onnx\.data: is not there, but holds weights of halved\.onnx\. The f"
    ):
        run(halved, store)
    stray = make_export(tmp_path / "deep" / "stray.onnx", external="w.data")
    network = onnx.load(str(stray), load_external_data=False)
    network.graph.initializer[0].external_data[0].value = "../w.data"
    stray.write_bytes(network.SerializeToString())
    with pytest.raises(PackageError, match=r"stray\.onnx: has weights in '\.\./w\.data', which is not beside it"):
        run(stray, store)
    future = make_export(tmp_path / "future.onnx")
    network = onnx.load(str(future))
    network.ir_version = 99
    future.write_bytes(network.SerializeToString())
    with pytest.raises(
        EngineError, match=r"does not load \(.*\)\. It is of IR version 99 and opset 13; here is ONNX R"
    ):
        run(future, store)
    shapes = make_export(tmp_path / "shapes.onnx", score_shape=(1, 1, 1))
    with pytest.raises(EngineError, match=r"expected pred_score \[1, 1\] or \[1\] or \[\], .*found \[1, 1, 1\]"):
        run(shapes, store)
    strange = make_package(tmp_path / "strange") / "mochi" / "model.onnx"
    with pytest.raises(
        PackageError,
        match=r"is no anomalib export: .* found mask float32 \[1, 3, 96, 128\], class float32 \[1, 2\]\. .* --heads and",
    ):
        run(strange, store)
    (tmp_path / "torn.onnx").write_bytes(strange.read_bytes()[:200])
    with pytest.raises(EngineError, match=r"torn\.onnx: does not load"):
        run(tmp_path / "torn.onnx", store)
    for name, message in (("model.pt", "is neither"), ("none.onnx", "is no file")):
        with pytest.raises(PackageError, match=message):
            run(tmp_path / name, store)
    assert not store.exists() or list(store.iterdir()) == []


@pytest.mark.parametrize("heads", ["both", "class", "mask"])
def test_a_network_of_class_probabilities(tmp_path: Path, store: Path, images: Path, heads: str) -> None:
    kind = {"mask": "seg"}.get(heads, heads)
    source = make_package(tmp_path / "source", heads=kind)
    options = ["--heads", heads, "--no-normalize", "--threshold", "0.4"]
    if heads != "class":
        options += ["--class", "scratch", "--class", "dent"]
    run(source / "mochi" / "model.onnx", store, *options, "--golden", images)
    model, expected = load(store / "bolts"), load(source)
    found, wanted = model.detect(part(60)), expected.detect(part(60))
    assert found.score == wanted.score
    assert found.anomalies == wanted.anomalies
    if heads != "class":
        assert found.mask.shape == (240, 320, 3)  # of the golden images


def test_a_mask_needs_its_size_and_its_classes(tmp_path: Path, store: Path) -> None:
    file = make_package(tmp_path / "source") / "mochi" / "model.onnx"
    with pytest.raises(
        PackageError, match=r"needs the size of the images .* --raw-size WIDTHxHEIGHT, or golden images"
    ):
        run(file, store, "--heads", "both")
    with pytest.raises(PackageError, match=r"needs the names of its mask's classes\. Give each but background"):
        run(file, store, "--heads", "both", "--raw-size", "320x240")
    with pytest.raises(EngineError, match=r"expected mask \[1, 2, \?, \?\], class \[1, 2\]; found \[1, 3, 96, 128\]"):
        run(file, store, "--heads", "both", "--raw-size", "320x240", "--class", "scratch")


WRONG: List[Tuple[List[str], str]] = [
    (["--version", "1"], r"version '1': is not of the form 1\.0\.0"),
    (["--raw-size", "0x9"], "raw size 0x9: needs sides of 1 to 4096"),
    (["--threshold", "nan"], "threshold: is nan, not a finite number"),
    (["--no-mask", "--pixel-threshold", "0.5"], "makes a mask, but there is to be none"),
    (["--class", "background"], "background, background are not all different"),
    (["--class", "a", "--class", "b"], "more than one --class: means nothing for an anomalib export"),
    (["--image-class", "a"], "--image-class: means nothing for an anomalib export"),
    (
        ["--heads", "class", "--raw-scores", "--threshold", "2"],
        "--raw-scores: means nothing for a network with --heads cl",
    ),
    (["--heads", "class", "--image-class", "a", "--image-class", "b"], "one of them must be called normal"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_options_that_cannot_be(tmp_path: Path, store: Path, options: List[str], message: str) -> None:
    with pytest.raises(PackageError, match=message):
        run(make_export(tmp_path / "model.onnx"), store, *options)
    assert not store.exists()


def test_names_that_climb_are_refused(tmp_path: Path, store: Path) -> None:
    for name in ("../up", "a/b", ".hidden", ""):
        with pytest.raises(PackageError, match="may hold letters"):
            run(make_export(tmp_path / "model.onnx"), store, name=name)


def test_golden_images_that_cannot_be_used(tmp_path: Path, store: Path) -> None:
    file = make_export(tmp_path / "model.onnx")
    directory = tmp_path / "few"
    directory.mkdir()
    cases: List[Tuple[str, Any, str]] = [
        ("", None, "few: holds 0 images; a package carries 1 to 16"),
        ("torn.png", b"PNG", r"torn\.png: cannot be read as an image"),
        ("small.png", (63, 64), r"small\.png: is 63x64 pixels; each side must have 64 to 4096"),
    ]
    for name, content, message in cases:
        if isinstance(content, tuple):
            Image.new("RGB", content).save(directory / name)
        elif content:
            (directory / name).write_bytes(content)
        with pytest.raises(PackageError, match=message):
            run(file, store, "--golden", directory)
        if name:
            (directory / name).unlink()
    with pytest.raises(PackageError, match=r"nowhere: cannot be read \(No such file"):
        run(file, store, "--golden", tmp_path / "nowhere")
    assert not store.exists()


def test_what_is_there_stays_without_force(tmp_path: Path, store: Path) -> None:
    file = make_export(tmp_path / "model.onnx")
    run(file, store)
    before = (store / "bolts" / "manifest.json").read_bytes()
    with pytest.raises(PackageError, match="exists already"):
        run(file, store, "--threshold", "0.7")
    with pytest.raises(PackageError, match=r"bolts: is a package of the same name in its other form\. Remove it first"):
        run(file, store, "--zip")
    assert (store / "bolts" / "manifest.json").read_bytes() == before
    assert run(file, store, "--threshold", "0.7", "--force")["model_graph"]["stages"][0]["threshold"] == 0.7
    assert [entry.name for entry in store.iterdir()] == ["bolts"]


def test_the_table_names_package_and_images(tmp_path: Path, store: Path, images: Path) -> None:
    file = make_export(tmp_path / "model.onnx")
    done = CliRunner().invoke(command, [str(file), "--name", "b", "--out", str(store), "--golden", str(images)])
    assert done.exit_code == 0, done.output
    assert str(store / "b") in done.output
    for words in ("anomalib, onnx", "128x96", "of the image's size", "golden/bad_part.png", "anomalous"):
        assert words in done.output


def test_a_tampered_package_fails_its_test(tmp_path: Path, store: Path, images: Path) -> None:
    run(make_export(tmp_path / "model.onnx"), store, "--golden", images)
    make_export(store / "bolts" / "anomalib" / "model.onnx", gain=0.3)
    with pytest.raises(SelfTestError, match=r"bolts: golden image golden/bad_part\.png: expected the score 0\.86"):
        load(store / "bolts")
