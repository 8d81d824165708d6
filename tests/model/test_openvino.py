"""OpenVINO as an engine: the same answers as ONNX Runtime, clear errors, the threads it is given, and no telemetry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.anomalib import make_anomalib_package, to_openvino
from support.packages import make_package

from edge_agent.errors import EngineError, ManifestError, MissingExtraError, PackageError
from edge_agent.model import Model, load_model, open_package


def load(path: Path, threads: int = 1) -> Model:
    with open_package(path) as package:
        return load_model(package, threads=threads)


def converted(path: Path) -> Path:
    """A package's network as OpenVINO's, in its place."""
    (stage,) = {file.parent for file in path.rglob("*.onnx")}
    to_openvino(stage / "model.onnx", stage / "model.xml")
    (stage / "model.onnx").unlink()
    document = json.loads((path / "manifest.json").read_text())
    document["runtime"] = "openvino"
    (path / "manifest.json").write_text(json.dumps(document))
    return path


def part() -> np.ndarray:
    pixels = np.full((240, 320, 3), 128, dtype=np.uint8)
    pixels[40:80, 60:120] = (230, 10, 10)
    return pixels


@pytest.mark.parametrize("heads", ["both", "class", "seg"])
def test_a_mochi_network_answers_as_in_onnx_runtime(tmp_path: Path, heads: str) -> None:
    expected = load(make_package(tmp_path / "onnx", heads=heads)).detect(part())
    model = load(converted(make_package(tmp_path / "openvino", heads=heads)), threads=2)
    for _ in range(2):
        found = model.detect(part())
        assert found.score == pytest.approx(expected.score, abs=1e-5)
        assert found.is_anomalous is expected.is_anomalous
        assert found.anomalies == expected.anomalies
        np.testing.assert_array_equal(found.mask, expected.mask)
    model.close()


def test_sizes_that_the_graph_leaves_open_are_the_manifests(tmp_path: Path) -> None:
    path = make_anomalib_package(tmp_path / "bolts", runtime="openvino", batch="batch_size", open_size=True)
    model = load(path)
    assert model.detect(part()).is_anomalous
    model.close()


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = converted(make_package(tmp_path / "bolts"))
    stage = path / "mochi"
    xml, weights = (stage / "model.xml").read_text(), (stage / "model.bin").read_bytes()

    (stage / "model.bin").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(
        EngineError, match=r"mochi/model\.xml: does not load \(.+\)\. It is an IR of version 11; here is O"
    ):
        load(path)
    (stage / "model.bin").unlink()
    with pytest.raises(PackageError, match=r"has no file mochi/model\.bin, which holds weights of model\.xml"):
        load(path)
    (stage / "model.bin").write_bytes(weights)
    (stage / "model.xml").write_text(xml.replace('version="opset1"', 'version="opset999"'))
    with pytest.raises(EngineError, match=r"does not load \(.*opset999.*\)"):
        load(path)
    for content in ("", "no XML", "<other/>"):
        (stage / "model.xml").write_text(content)
        with pytest.raises(EngineError, match="it is no OpenVINO IR"):
            load(path)
    (stage / "model.xml").unlink()
    with pytest.raises(PackageError, match=r"has 0 \*\.xml files in 'mochi', not one"):
        load(path)


def test_a_network_that_does_not_fit_its_manifest(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"expected mask \[1, 3, \?, \?\], class \[1, 2\]; found \[1, 4, 96, 128\]"):
        load(converted(make_package(tmp_path / "classes", channels=4)))
    with pytest.raises(EngineError, match=r"expected float32 \[1, 3, 96, 64\]; found float32 \[1, 3, 96, 128\]"):
        load(converted(make_package(tmp_path / "sides", stage={"input_shape": None, "image_width": 64})))


def test_runtimes_are_named(tmp_path: Path) -> None:
    path = make_package(tmp_path / "bolts", top={"runtime": "tflite"})
    with pytest.raises(ManifestError, match=r"is 'tflite', which is not supported\. Use one of onnx, op"):
        load(path)


def test_a_missing_openvino_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = converted(make_package(tmp_path / "bolts"))
    monkeypatch.delitem(sys.modules, "edge_agent.model.engine_openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"edge-agent\[openvino\]"):
        load(path)


_WATCHED = """
import sys

def watch(event, arguments):
    if event == "subprocess.Popen" and arguments[0] == "uname":
        return  # the standard library's platform.processor()
    if event.startswith(("socket.", "urllib.", "subprocess.", "os.fork", "os.posix_spawn", "os.exec", "os.system")):
        print(event, arguments, flush=True)

sys.addaudithook(watch)
"""

_LOAD = (
    _WATCHED
    + """
from pathlib import Path
from edge_agent.model import load_model, open_package
with open_package(Path(sys.argv[1])) as package:
    model = load_model(package, threads=1)
model.warm_up()
model.close()
import openvino
assert sys.modules["openvino_telemetry"] is None
"""
)


def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    """OpenVINO's Python package sends an event when it is imported, and keeps an id below HOME, unless it is kept from it.

    What it does happens in Python (a process of its own that opens an address), so an audit hook sees all of it.
    """
    path = converted(make_package(tmp_path / "model"))
    home = tmp_path / "home"
    home.mkdir()
    # In CI it is silent by itself.
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment.update(HOME=str(home), XDG_CACHE_HOME=str(home / "cache"))
    run = subprocess.run(
        [sys.executable, "-c", _LOAD, str(path)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    assert list(home.rglob("*")) == []


def test_one_thread_is_one_thread_and_rests_between_calls(tmp_path: Path) -> None:
    model = load(converted(make_package(tmp_path / "bolts", size=(192, 256), work=3)))
    from edge_agent.model.engine_openvino import openvino

    # What the extra asks for where there is a choice (pyproject.toml says why).
    if tuple(map(int, openvino.get_version().split("-")[0].split(".")[:2])) < (2024, 6):
        pytest.skip("this OpenVINO keeps a thread awake for a tenth of a second after each inference")
    model.warm_up()
    wall, busy = time.perf_counter(), time.process_time()
    for _ in range(20):
        model.detect(part())
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    assert busy < 1.3 * wall
    idle = time.process_time()
    threading.Event().wait(0.5)
    assert time.process_time() - idle < 0.05
    model.close()
