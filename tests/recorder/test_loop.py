"""The loop closes: what a run of the sample line recorded is trained on, and played again."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List

import numpy as np
import pytest
from PIL import Image
from recorder.conftest import Rig
from support.cameras.driving import play
from support.waiting import until

from edge_agent import sample
from edge_agent.agent import Inspector, read_settings
from edge_agent.cameras.replay import ReplayCamera, ReplaySettings
from edge_agent.clock import SystemClock
from edge_agent.errors import IpcUnavailableError
from edge_agent.model import load_model, open_package, self_test
from edge_agent.sample.part import ANOMALOUS_SHARE
from edge_agent.server import ModelServer
from edge_agent.training.ground_truth import read_ground_truth
from edge_agent.training.pictures import read_mask

PARTS = 24


def _parts() -> Iterator[sample.SamplePart]:
    """As the camera `sample` shows them."""
    return sample.part_stream(7, anomalous_share=ANOMALOUS_SHARE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ModelServer]:
    made = ModelServer(sample.models_directory(), str(tmp_path / "server.sock"), threads=1)
    made.start()
    yield made
    made.stop(1.0)


class Line:
    """Runs of the inspector, each to its camera's end. What they publish stays in a spool of their own."""

    def __init__(self, root: Path, socket: str) -> None:
        self.root = root
        self.recorded = root / "recorded"
        self._socket = socket
        self._runs = 0

    def settings(self, camera: Dict[str, Any], recorder: Dict[str, Any]) -> Dict[str, Any]:
        """The configuration of the next run."""
        self._runs += 1
        return {
            "socket": self._socket,
            "spool": {"path": str(self.root / f"spool-{self._runs}")},
            "lanes": {"line-1": {"model": sample.MODEL_NAME, "camera": camera}},
            "recorder": recorder,
            "outputs": {"all": {"to": {"type": "jsonl", "path": str(self.root / f"run-{self._runs}")}, "queue": 1000}},
        }

    def run(self, camera: Dict[str, Any], **recorder: Any) -> Dict[str, Any]:
        settings = self.settings(camera, {"free_bytes": 0, "queue": 1000, **recorder})
        stop = threading.Event()
        inspector = Inspector(
            read_settings(settings, "test", thing="press-7"), thing="press-7", connect=_nobody, clock=SystemClock()
        )

        def end() -> None:
            while not (inspector.lanes() and inspector.lane("line-1").finished()):
                stop.wait(0.02)
            # Nobody takes the inspections: there is nothing to wait for but the recorder.
            while any(lane["waiting"] for lane in inspector.report()["recorder"]["lanes"].values()):
                stop.wait(0.02)
            stop.set()

        threading.Thread(target=end, daemon=True).start()
        inspector.run(stop)
        return inspector.report()

    def record(self, **recorder: Any) -> Dict[str, Any]:
        parts = {"type": "sample", "rate": 0, "seed": 7, "count": PARTS}
        report = self.run(parts, path=str(self.recorded), **recorder)
        counts: Dict[str, Any] = report["recorder"]["lanes"]["line-1"]
        assert counts["balanced"]
        return counts

    def verdicts(self, run: int) -> List[Any]:
        """Whether anomalous, part by part, as an output heard it."""
        lines = (self.root / f"run-{run}").read_text().splitlines()
        return [json.loads(line)["is_anomalous"] for line in lines]

    @property
    def manifest(self) -> Path:
        return self.recorded / "line-1.manifest"


def _nobody() -> Any:
    raise IpcUnavailableError("AWS IoT Core", "is not here")


@pytest.fixture
def line(tmp_path: Path, server: ModelServer) -> Line:
    return Line(tmp_path, server.socket)


def test_training_reads_what_was_recorded(line: Line) -> None:
    counts = line.record(rules={"everything": {}}, format="png")
    assert (counts["recorded"], counts["dropped"]) == (PARTS, {})
    labelled = read_ground_truth(line.manifest)
    verdicts = line.verdicts(1)
    assert [example.is_anomalous for example in labelled.examples] == verdicts
    assert 0 < sum(verdicts) < PARTS
    # The parts themselves: the model is right on all of them, so a recording is as good as the truth.
    truth = _parts()
    for example in labelled.examples:
        part = next(truth)
        assert np.array_equal(np.asarray(Image.open(example.image)), part.image)
        assert example.is_anomalous == part.is_anomalous
        if example.is_anomalous:
            # The model's mask is near the truth: a set with masks, of the model's classes.
            seen = read_mask(example, labelled.classes, part.mask.shape)
            assert {labelled.classes[index] for index in np.unique(seen)} - {"background"} >= {part.classes[0]}
    assert labelled.classes[0] == "background"


def test_replay_shows_what_was_recorded(line: Line) -> None:
    line.record(rules={"everything": {}}, format="png")
    truth = [part.image for _, part in zip(range(PARTS), _parts())]
    for path in (line.manifest, line.recorded):
        settings = ReplaySettings(path=str(path), speed=0, camera="line-1")
        frames = play(ReplayCamera(settings, SystemClock())).frames
        assert [np.array_equal(frame.pixels, image) for frame, image in zip(frames, truth)] == [True] * PARTS
    line.run({"type": "replay", "path": str(line.manifest), "speed": 0})
    assert line.verdicts(2) == line.verdicts(1)


def test_anomalies_and_a_sample_of_the_rest_are_a_training_set(line: Line) -> None:
    counts = line.record(rules={"defects": {"verdict": "anomalous"}}, every=4)
    labelled = read_ground_truth(line.manifest)
    anomalous = sum(example.is_anomalous for example in labelled.examples)
    assert anomalous == sum(line.verdicts(1))
    assert counts["recorded"] == len(labelled.examples) == PARTS - counts["skipped"]
    assert len(labelled.examples) - anomalous >= 4


def test_a_kill_leaves_a_recording_that_is_whole(line: Line, tmp_path: Path) -> None:
    camera = {"type": "sample", "rate": 0, "seed": 7}
    recorder = {"path": str(line.recorded), "rules": {"everything": {}}, "free_bytes": 0, "format": "png"}
    configuration = tmp_path / "inspector.json"
    configuration.write_text(json.dumps(line.settings(camera, recorder)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SVCUID", "AWS_GG"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_agent", "run", "--config", str(configuration)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: line.manifest.exists() and line.manifest.read_text().count("\n") >= 5, 60.0)
    finally:
        process.kill()
        process.wait(20)
    before = line.manifest.read_text().count("\n")
    rig = Rig(line.recorded)
    rig.start()
    found = rig.counts("line-1")["found"]
    assert before <= found <= before + 1
    examples = read_ground_truth(line.manifest).examples
    assert len(examples) == len(rig.numbers("line-1")) == found
    for example in examples:
        Image.open(example.image).load()
    rig.stop()


@pytest.mark.train
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra `train`)")
def test_a_model_is_trained_on_what_was_recorded_and_passes_its_self_test(line: Line, tmp_path: Path) -> None:
    from edge_agent.training import TrainingSettings, train

    line.record(rules={"everything": {}})
    settings = TrainingSettings(
        manifest=line.manifest, out=tmp_path / "models", name="again", epochs=3, threads=1, size=(96, 64)
    )
    result = train(settings, lambda _epoch: None)
    with open_package(result.package) as package:
        model = load_model(package, threads=1)
        self_test(model, package)  # raises where the model answers otherwise than in its training
        assert package.manifest.package.golden
