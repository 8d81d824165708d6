"""Packaging jobs that make a network ready for its target."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.anomalib import make_anomalib_package
from support.packages import add_golden, part
from support.packaging import PROJECT, artifact_of, make_registry, open_state, run_job, start_request

from edge_agent.errors import ConfigError, MissingExtraError, PackageError
from edge_agent.model import load_model, open_package, self_test
from edge_agent.packaging.jobs.database import Database
from edge_agent.packaging.jobs.store import JobStore
from edge_agent.packaging.optimize.wanted import FP16, FP32, INT8, NONE

_NVIDIA = {
    "TargetPlatform": {"Os": "LINUX", "Arch": "X86_64", "Accelerator": "NVIDIA"},
    "CompilerOptions": json.dumps({"gpu-code": "sm_75", "trt-ver": "8.2.1", "cuda-ver": "10.2"}),
}


def _stage(artifact: Path) -> Any:
    with open_package(artifact) as package:
        model = load_model(package, threads=1)
        self_test(model, package)
        model.close()
        return package.manifest.stage


def test_the_artifact_takes_pixels_lists_its_files_and_the_status_says_what_was_done(tmp_path: Path) -> None:
    model = make_registry(tmp_path / "registry") / PROJECT / "1" / "model"
    before = {file: file.read_bytes() for file in model.rglob("*") if file.is_file()}
    made = run_job(tmp_path, {"optimize": FP32})
    assert made.message.endswith("Network: fp32, pixels in.")
    assert _stage(artifact_of(tmp_path)).takes_pixels
    with open_package(artifact_of(tmp_path)) as package:
        network = (package.directory / "mochi" / "model.onnx").read_bytes()
        assert package.manifest.package.files == {"mochi/model.onnx": hashlib.sha256(network).hexdigest()}
    assert {file: file.read_bytes() for file in model.rglob("*") if file.is_file()} == before


def test_a_package_that_was_made_by_a_job_may_be_the_model_of_another(tmp_path: Path) -> None:
    make_registry(tmp_path / "a" / "registry")
    run_job(tmp_path / "a", {"optimize": NONE})
    place = tmp_path / "b" / "registry" / PROJECT / "1" / "again.zip"
    place.parent.mkdir(parents=True)
    place.write_bytes(artifact_of(tmp_path / "a").read_bytes())
    run_job(tmp_path / "b", {"optimize": FP32})
    assert _stage(artifact_of(tmp_path / "b")).takes_pixels


def test_the_same_model_gives_the_same_zip(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        add_golden(make_registry(tmp_path / name / "registry") / PROJECT / "1" / "model")
        run_job(tmp_path / name, {"optimize": INT8})
        digests.add(hashlib.sha256(artifact_of(tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_int8_looks_at_the_images_for_calibration_too(tmp_path: Path) -> None:
    place = make_registry(tmp_path / "registry") / PROJECT / "1"
    add_golden(place / "model")
    (place / "calibration").mkdir()
    (place / "calibration" / "torn.png").write_bytes(b"torn")
    with pytest.raises(PackageError, match=r"torn.png: cannot be read as an image"):
        run_job(tmp_path, {"optimize": INT8})
    for number in range(3):
        Image.fromarray(part()).save(place / "calibration" / f"{number}.png")
    (place / "calibration" / "torn.png").unlink()
    assert "Network: int8, pixels in." in run_job(tmp_path, {"optimize": INT8}, ComponentName="other").message


def test_fp16_is_for_an_accelerator(tmp_path: Path) -> None:
    add_golden(make_registry(tmp_path / "registry") / PROJECT / "1" / "model")
    with pytest.raises(PackageError, match="FP16 is for targets with an NVIDIA accelerator"):
        run_job(tmp_path, {"optimize": FP16})
    run_job(tmp_path, {"optimize": FP16}, **_NVIDIA, ComponentVersion="1.0.0", ComponentName="com.example.Bolts2")


def test_a_network_of_another_runtime_stays_as_it_is_or_says_so(tmp_path: Path) -> None:
    make_anomalib_package(tmp_path / "registry" / PROJECT / "1" / "model", runtime="openvino")
    assert "Network" not in run_job(tmp_path, {"optimize": FP32}).message
    assert not _stage(artifact_of(tmp_path)).takes_pixels
    with pytest.raises(PackageError, match=r"'openvino'; only ONNX networks are made int8"):
        run_job(tmp_path, {"optimize": INT8}, ComponentName="other")


def test_a_job_that_an_older_version_kept_is_done_as_that_would_have(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    place = open_state(tmp_path, optimize=FP32)
    job = place.service.create(start_request())
    with Database(tmp_path / "state").transaction() as connection:
        settings = json.loads(connection.execute("SELECT settings FROM job").fetchone()[0])
        kept = {name: settings[name] for name in ("registry", "buckets", "agent")}
        connection.execute("UPDATE job SET settings = ?", (json.dumps(kept),))
    place.worker(threading.Event()).wait_for(job.number)
    assert JobStore(tmp_path / "state").get(job.number).message.endswith("1.0.0.json.")
    assert not _stage(artifact_of(tmp_path)).takes_pixels


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_registry(tmp_path / "registry")
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in [name for name in sys.modules if name.startswith("edge_agent.packaging.optimize")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"edge-agent\[packaging\]"):
        run_job(tmp_path, {"optimize": FP32})
    assert "Network" not in run_job(tmp_path, {"optimize": NONE}, ComponentName="other").message


def test_only_what_is_known_may_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="optimize fp8: is none of none, fp32, fp16, int8"):
        open_state(tmp_path, optimize="fp8")
