"""Whole trainings, small but real: manifest in, package out, judged by the package itself."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from manifests import image_line, mask_entries, write_lines
from PIL import Image

from edge_agent.cli.train import train as command
from edge_agent.errors import MissingExtraError, PackageError
from edge_agent.model import load_model, open_package, self_test
from edge_agent.training import TrainingSettings, train

HAVE_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAVE_TORCH, reason="PyTorch is not installed (extra `train`)")

SIZE = (96, 64)


def draw(random, defect):
    """A noisy grey plate, and a dark round stain or a bright bar on it."""
    image = random.normal(120, 12, (SIZE[1], SIZE[0], 3))
    mask = np.full(image.shape, 255, dtype=np.uint8)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    centre = random.uniform(16, 80), random.uniform(16, 48)
    if defect == "stain":
        place = np.hypot(x - centre[0], y - centre[1]) < 9
        image[place], mask[place] = image[place] - 90, (0x23, 0xA4, 0x36)
    elif defect == "bar":
        place = (np.abs(x - centre[0]) < 12) & (np.abs(y - centre[1]) < 5)
        image[place], mask[place] = image[place] + 90, (0x14, 0xA3, 0xB3)
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write_plates(folder, *, masks=True, count=32):
    random = np.random.RandomState(5)
    lines = []
    for number in range(count):
        defect = (None, "stain", None, "bar")[number % 4]
        image, mask = draw(random, defect)
        Image.fromarray(image).save(folder / f"{number}.png")
        line = image_line(f"{number}.png", int(defect is not None))
        if masks and defect is not None:
            Image.fromarray(mask).save(folder / f"{number}-mask.png")
            line.update(mask_entries(f"{number}-mask.png", {"stain": "#23A436", "bar": "#14A3B3"}))
        lines.append(line)
    return write_lines(folder, lines)


def settings(tmp_path, manifest, **changes):
    chosen = {"manifest": manifest, "out": tmp_path / "models", "name": "plates", "epochs": 25, "threads": 1, **changes}
    return TrainingSettings(**chosen)


@needs_torch
@pytest.mark.train
def test_training_with_masks_makes_a_package_that_sees(tmp_path):
    epochs = []
    result = train(settings(tmp_path, write_plates(tmp_path), version="2.1.0"), epochs.append)
    assert [at.epoch for at in epochs] == list(range(1, 26))
    assert epochs[-1].loss < epochs[0].loss / 2
    assert result.performance["held_out"]["images"] == 6
    assert result.performance["held_out"]["auroc"] == 1.0
    document = json.loads((result.package / "manifest.json").read_text(encoding="utf-8"))
    assert document["model_graph"]["pixel_level_classes"]["names"] == ["background", "stain", "bar"]
    assert document["performance"] == result.performance
    assert document["package"]["version"] == "2.1.0"
    assert document["training"]["seed"] == 0
    golden = document["package"]["golden"]["images"]
    assert [image["score"] > document["performance"]["threshold"] for image in golden] == [False, False, True, True]
    assert {Path(image["file"]).stem for image in golden} <= {
        Path(name).stem for name in document["training"]["held_out_images"]
    }
    # Pictures that no training has seen.
    random = np.random.RandomState(77)
    right = 0
    with open_package(result.package) as package:
        model = load_model(package, threads=1)
        self_test(model, package)
    for number in range(30):
        defect = (None, "stain", "bar")[number % 3]
        verdict = model.detect(draw(random, defect)[0])
        names = [anomaly.name for anomaly in verdict.anomalies if anomaly.name != "background"]
        right += verdict.is_anomalous == (defect is not None) and names == ([defect] if defect else [])
        assert verdict.mask.shape == (SIZE[1], SIZE[0], 3)
    model.close()
    assert right >= 24
    assert not list((tmp_path / "models").glob(".*"))


@needs_torch
@pytest.mark.train
def test_training_without_masks_has_a_classification_head_alone(tmp_path):
    result = train(settings(tmp_path, write_plates(tmp_path, masks=False), epochs=40), lambda _: None)
    stage = json.loads((result.package / "manifest.json").read_text(encoding="utf-8"))["model_graph"]["stages"][0]
    assert stage["segmentation_head_enabled"] is False
    assert result.performance["training"]["auroc"] > 0.9
    with open_package(result.package) as package:
        model = load_model(package, threads=1)
    verdict = model.detect(np.zeros((64, 96, 3), dtype=np.uint8))
    model.close()
    assert verdict.mask is None
    assert verdict.anomalies == ()


@needs_torch
@pytest.mark.train
def test_same_seed_same_model(tmp_path):
    manifest = write_plates(tmp_path, count=16)
    graphs = []
    for name in ("one", "two"):
        result = train(settings(tmp_path, manifest, name=name, epochs=3, seed=11), lambda _: None)
        graphs.append((result.package / "mochi" / "model.onnx").read_bytes())
    assert graphs[0] == graphs[1]


@needs_torch
@pytest.mark.train
def test_graph_computes_what_the_network_computes(tmp_path):
    import onnx
    import onnxruntime
    import torch

    from edge_agent.training.graph import IR_VERSION, OPSET, build_graph
    from edge_agent.training.network import InspectionNet

    for classes in (0, 2, 5):
        torch.manual_seed(classes)
        net = InspectionNet(classes)
        net.train()
        for _ in range(3):
            net(torch.randn(2, 3, 64, 96))  # gives the batch normalisation something to fold
        net.eval()
        data = build_graph(net, 96, 64)
        model = onnx.load_model_from_string(data)
        assert (model.opset_import[0].version, model.ir_version) == (OPSET, IR_VERSION)
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        image = torch.randn(1, 3, 64, 96)
        outputs = session.run(None, {"input": image.numpy()})
        with torch.no_grad():
            logits, odds = net(image)
        anomaly = torch.sigmoid(odds).item()
        assert outputs[-1] == pytest.approx(np.array([[anomaly, 1 - anomaly]]), abs=1e-5)
        assert len(outputs) == (2 if classes else 1)
        if classes:
            assert outputs[0] == pytest.approx(torch.softmax(logits, dim=1).numpy(), abs=1e-5)


@needs_torch
@pytest.mark.train
@pytest.mark.shared_data
def test_cookies_train_for_an_epoch(tmp_path, shared_data):
    manifest = shared_data / "cookies" / "train.manifest"
    result = train(settings(tmp_path, manifest, name="cookies", epochs=1, size=(96, 128)), lambda _: None)
    assert result.training["images"] == 63
    assert result.performance["held_out"]["images"] == 12
    assert set(result.performance["held_out"]["mask_iou"]) == {"cracked"}


@needs_torch
@pytest.mark.train
def test_command_writes_and_refuses_to_overwrite(tmp_path):
    arguments = ["--manifest", str(write_plates(tmp_path, count=16)), "--out", str(tmp_path / "store"), "--name", "p"]
    arguments += ["--epochs", "1", "--size", "96x64", "--threads", "1"]
    run = CliRunner().invoke(command, [*arguments, "--json"])
    assert run.exit_code == 0, run.output
    document = json.loads(run.stdout)
    assert document["package"] == str(tmp_path / "store" / "p")
    assert "epoch 1/1" in run.stderr
    again = CliRunner().invoke(command, arguments)
    assert isinstance(again.exception, PackageError)
    assert "exists already" in str(again.exception)
    forced = CliRunner().invoke(command, [*arguments, "--force"])
    assert forced.exit_code == 0, forced.output
    assert "held out" in forced.output
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["p"]


@pytest.mark.skipif(HAVE_TORCH, reason="PyTorch is installed here")
def test_missing_extra_is_named(tmp_path):
    with pytest.raises(MissingExtraError, match=r"edge-agent\[train\]"):
        train(settings(tmp_path, write_plates(tmp_path)), lambda _: None)
    assert not (tmp_path / "models").exists()


def test_size_of_another_form_is_a_usage_error(tmp_path):
    arguments = ["--manifest", "m", "--out", str(tmp_path), "--name", "p", "--size", "320"]
    run = CliRunner().invoke(command, arguments)
    assert run.exit_code == 2
    assert "320x240" in run.output
