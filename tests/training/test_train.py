"""Whole trainings, small but real: manifest in, package out, judged by the package itself."""

from __future__ import annotations

import base64
import html.parser
import importlib.util
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from manifests import image_line, mask_entries, run_verb, write_lines
from PIL import Image

from edge_agent.cli.evaluate import evaluate_command
from edge_agent.cli.train import train as command
from edge_agent.errors import MissingExtraError, PackageError, TrainingError
from edge_agent.model import load_model, open_package, self_test
from edge_agent.training import TrainingSettings, train
from edge_agent.training.checkpoint import open_checkpoint

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


# Kills itself in the middle of a training, right after a state was written.
_KILLED = """
import os, signal, sys
from pathlib import Path
from edge_agent.training import TrainingSettings, train

def report(at):
    if at.epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
train(TrainingSettings(folder / "train.manifest", folder / "models", "plates", epochs=5, seed=3, threads=1,
      checkpoint_s=0.0), report)
"""


@needs_torch
@pytest.mark.train
@pytest.mark.parametrize("masks", [True, False])
def test_a_killed_training_goes_on_and_gives_the_same_model(tmp_path, masks):
    manifest = write_plates(tmp_path, count=16, masks=masks)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path)], cwd=Path(__file__).parents[2], timeout=100, check=False
    )
    assert done.returncode == -signal.SIGKILL
    hidden = tmp_path / "models" / ".plates.training"
    assert [path.name for path in hidden.iterdir()] == ["checkpoint.pt"]
    assert not (tmp_path / "models" / "plates").exists()
    epochs = []
    resumed = train(settings(tmp_path, manifest, epochs=5, seed=3), epochs.append)
    assert [(at.epoch, at.resumed) for at in epochs] == [(4, 3), (5, 3)]
    assert not hidden.exists()
    whole = train(settings(tmp_path, manifest, name="whole", epochs=5, seed=3), lambda _: None)
    graphs = [(result.package / "mochi" / "model.onnx").read_bytes() for result in (resumed, whole)]
    assert graphs[0] == graphs[1]
    assert resumed.performance == whole.performance


@needs_torch
@pytest.mark.train
def test_what_was_left_by_another_training_is_not_gone_on_with(tmp_path, caplog):
    manifest = write_plates(tmp_path, count=16)

    class Cut(Exception):  # noqa: N818 - no error
        pass

    def cut(at):
        if at.epoch == 2:
            raise Cut

    def epochs_of(**changes):
        seen = []
        train(settings(tmp_path, manifest, force=True, **{"epochs": 3, **changes}), seen.append)
        return [at.epoch for at in seen]

    def leave():
        with pytest.raises(Cut):
            train(settings(tmp_path, manifest, epochs=3, checkpoint_s=0.0, force=True), cut)

    leave()
    assert epochs_of() == [3]
    leave()
    assert epochs_of(resume=False) == [1, 2, 3]
    leave()
    assert epochs_of(seed=1) == [1, 2, 3]
    assert "with other images or settings" in caplog.text
    leave()
    (tmp_path / "models" / ".plates.training" / "checkpoint.pt").write_bytes(b"torn")
    assert epochs_of() == [1, 2, 3]
    assert "cannot be read" in caplog.text


@needs_torch
@pytest.mark.train
def test_two_trainings_of_one_package_do_not_mix(tmp_path):
    manifest = write_plates(tmp_path, count=16)
    (tmp_path / "models").mkdir()
    job = settings(tmp_path, manifest, epochs=1)
    taken = pytest.raises(TrainingError, match="is being trained by another process")
    with open_checkpoint(job.package, "", resume=True, every_s=0), taken:
        train(job, lambda _: None)
    assert list((tmp_path / "models").iterdir()) == []


@needs_torch
@pytest.mark.train
def test_no_cuda_is_said(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    with pytest.raises(TrainingError, match="device cuda: is not there"):
        train(settings(tmp_path, write_plates(tmp_path, count=16), device="cuda"), lambda _: None)


class _Page(html.parser.HTMLParser):
    """Collects tags and attributes; knows whether all that was opened was closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br", "line", "rect", "polyline") or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@needs_torch
@pytest.mark.train
def test_the_report_is_one_file_that_loads_nothing(tmp_path):
    manifest = write_plates(tmp_path, count=16)
    strange = tmp_path / '<script>"&.png'
    (tmp_path / "1.png").rename(strange)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    lines[1]["source-ref"] = strange.name
    # The same picture under both labels: one of the two is a mistake, whatever comes out.
    (tmp_path / "0.png").write_bytes((tmp_path / "2.png").read_bytes())
    lines[0].update(image_line("0.png", 1))
    write_lines(tmp_path, lines)
    result = train(settings(tmp_path, manifest, epochs=1, report=tmp_path / "deep" / "r.html"), lambda _: None)
    assert result.report == tmp_path / "deep" / "r.html"
    text = result.report.read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == []
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert names.count("svg") == 4
    # Nothing comes from elsewhere: every picture is in the file, and there are no links.
    sources = [attributes["src"] for _, attributes in page.tags if "src" in attributes]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not [1 for _, attributes in page.tags if "href" in attributes]
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    for source in sources:
        assert max(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).size) <= 240
    # What it says of mistakes is what the package says.
    manifest_document = json.loads((result.package / "manifest.json").read_text(encoding="utf-8"))
    threshold = manifest_document["performance"]["threshold"]
    document = evaluated(result.package, tmp_path / "train.manifest")
    assert document["mistakes"]
    assert f"Mistakes: {len(document['mistakes'])}" in text
    shown = [re.sub(r"\s+", " ", piece) for piece in page.text]
    assert f"{threshold:g}" in " ".join(shown)
    for mistake in document["mistakes"]:
        assert Path(mistake["image"]).name in shown


def evaluated(package, manifest):
    return json.loads(run_verb(evaluate_command, "--model", package, "--manifest", manifest, "--json").out)


@needs_torch
@pytest.mark.train
def test_evaluate_agrees_with_the_training_and_warns_of_its_images(tmp_path):
    manifest = write_plates(tmp_path, count=24)
    result = train(settings(tmp_path, manifest, epochs=2), lambda _: None)
    arguments = ["--model", result.package, "--manifest", manifest]
    assert "learned from 20 of these 24 images" in run_verb(evaluate_command, *arguments).err
    held = run_verb(evaluate_command, *arguments, "--held-out", "--json")
    assert held.err == ""
    found, wanted = json.loads(held.out), result.performance["held_out"]
    assert found["Performance"] == {
        "F1Score": wanted["f1"],
        "Recall": wanted["recall"],
        "Precision": wanted["precision"],
    }
    assert found["mask"]["iou"] == wanted["mask_iou"]
    assert found["images"] == wanted["images"] == 4


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
    run = run_verb(command, *arguments, "--json")
    document = json.loads(run.out)
    assert document["package"] == str(tmp_path / "store" / "p")
    assert "epoch 1/1" in run.err
    again = CliRunner().invoke(command, arguments)
    assert isinstance(again.exception, PackageError)
    assert "exists already" in str(again.exception)
    forced = CliRunner().invoke(command, [*arguments, "--force"])
    assert forced.exit_code == 0, forced.output
    assert "held out" in forced.output
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["p", "p.html"]


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
