"""A recorder on a directory of the test's, fed with frames that show their number."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np
import pytest
from support.s3_loopback import S3, serve_s3
from support.waiting import until

from edge_agent.clock import SystemClock
from edge_agent.config import convert
from edge_agent.frame import Frame, Placement
from edge_agent.inspection import Anomaly, Inspection, Timings
from edge_agent.recorder import Recorder, RecorderSettings

#: 2026-11-21T14:05:30Z
START_NS = 1_795_269_930_000_000_000
SECOND_NS = 1_000_000_000


def frame(number: int, lane: str = "a", at_ns: Optional[int] = None, size: int = 64) -> Frame:
    """All of one colour: three times its number."""
    pixels = np.full((size, size, 3), 3 * number % 256, np.uint8)
    pixels.flags.writeable = False
    at_ns = START_NS + number * SECOND_NS if at_ns is None else at_ns
    place = Placement("none", 0, pixels.nbytes)
    return Frame(lane, number, pixels, place, at_ns, 0, 0, f"part-{number}", lambda: None)


def inspection(shown: Frame, *, anomalous: bool = False, confidence: float = 0.9) -> Inspection:
    anomalies = (Anomaly("background", 0.9, "#FFFFFF"), *([Anomaly("scratch", 0.1, "#FF0000")] if anomalous else []))
    timings = Timings(1, 2, 3, 6)
    return Inspection(
        f"{shown.sequence:032x}", "1" * 32, "press-7", shown.camera, shown.sequence, shown.captured_at_ns, "Model",
        "1.0.0", anomalous, confidence, anomalies, timings, shown.width, shown.height, shown.source,
    )  # fmt: skip


def settings(path: Path, **more: Any) -> RecorderSettings:
    """All parts, where nobody says otherwise, as lossless images, however full this machine's disk is."""
    rules = {"rules": {"everything": {}}} if "rules" not in more and "every" not in more else {}
    values = {"path": str(path), "format": "png", "free_bytes": 0, "queue": 1000, **rules, **more}
    return convert(values, RecorderSettings, "test", "recorder")


class Impatient(SystemClock):
    """A clock on which an uploader waits at most 20 ms; it tells for how long it would have.

    Attributes:
        waits: seconds.
        wall: what it shows, nanoseconds since 1970; None: the machine's time.
    """

    def __init__(self) -> None:
        self.waits: List[float] = []
        self.wall: Optional[int] = None

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if seconds:
            self.waits.append(seconds)
        return event.wait(min(seconds, 0.02))

    def wall_ns(self) -> int:
        return super().wall_ns() if self.wall is None else self.wall


class Rig:
    """A recorder, and its directory as it is on disk."""

    def __init__(self, path: Path, clock: Any = None) -> None:
        self.path = path
        self.recorder = Recorder(clock or SystemClock())

    def start(self, **more: Any) -> None:
        self.recorder.apply(settings(self.path, **more))
        until(lambda: self.recorder.status()["state"] != "opening")

    def give(
        self, number: int, lane: str = "a", *, at_ns: Optional[int] = None, mask: Any = None, **verdict: Any
    ) -> None:
        shown = frame(number, lane, at_ns)
        self.recorder.look(shown, inspection(shown, **verdict), lambda: mask)

    def counts(self, lane: str = "a") -> Dict[str, Any]:
        counts = self.recorder.status()["lanes"].get(lane, {})
        assert counts.get("balanced", True)
        return dict(counts)

    def settled(self, lane: str = "a") -> Dict[str, Any]:
        """The counts when nothing waits any more."""
        until(lambda: self.counts(lane).get("waiting") == 0)
        return self.counts(lane)

    def stop(self) -> None:
        self.recorder.close(20.0)

    def lines(self, lane: str = "a") -> List[Dict[str, Any]]:
        manifest = self.path / f"{lane}.manifest"
        return [json.loads(line) for line in manifest.read_text().splitlines()] if manifest.exists() else []

    def numbers(self, lane: str = "a") -> List[int]:
        """Sequence numbers of the images in the lane's manifest, each of which is whole."""
        found = []
        for line in self.lines(lane):
            image = self.path / line["source-ref"]
            document = json.loads(image.with_suffix(".json").read_bytes())
            assert image.stat().st_size
            found.append(document["sequence"])
        return found

    def files(self) -> List[Path]:
        """Images and sidecars, whatever the manifests say."""
        return sorted(path for path in self.path.rglob("*.*") if path.parent != self.path)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "recorded", Impatient())
    yield made
    made.stop()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Nothing of this machine's, and what a test says."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")

    def put(variables: Dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.fixture
def s3(environment: Callable[..., None]) -> Iterator[S3]:
    made = S3("parts")
    with serve_s3(made) as address:
        environment(
            {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_S3": address}
        )
        yield made
