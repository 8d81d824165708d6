"""A model becomes ten times slower for a minute, and quick again, under one lane of each policy and one of another model.

The model is really slower: its package is replaced by one with more convolutions in it, and the server swaps it in.
Every lane reads the same video, whose frames tell by their place in the file which verdict must come.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

import av
import numpy as np
import psutil
from support.packages import make_package

from edge_agent.model import load_model, open_package
from faults.line import Line, wait_until
from faults.outcome import Outcome
from faults.versions import put_in_place

_SLOWER = 10
_FULL = 5
_RATE = 10
_PERIOD_MS = 1000 / _RATE
_WIDTH, _HEIGHT = 320, 240
_MODEL, _OTHER_MODEL = "faults.Shared", "faults.Other"
_QUICK_MS = 10.0
_CALLS, _TRIES = 12, 10
_MEMORY_MB = 30.0
_DEADLINE_S = 30.0

# What a lane's policy counts when it drops, and frames that may wait. The lane of the other model has room for pauses of
# the machine, but not for a slower model.
_LANES = {"latest": ("replaced", 1), "oldest": ("buffer_full", 4), "wait": ("", 2)}
_OTHER, _OTHER_BUFFER = "other", 64

# Of each colour the anomaly that the model names.
_COLOURS = (((128, 128, 128), ""), ((255, 0, 0), "scratch"), ((0, 255, 0), "dent"))


def run(count: int, seed: int) -> Outcome:
    """Make the model slow `count` times, each for a minute (in a short form for four seconds)."""
    outcome = Outcome(count)
    slow_s, quick_s = (60.0, 5.0) if count >= _FULL else (4.0, 2.0)
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory:
        scratch = Path(directory)
        models = scratch / "models"
        packages = _Packages(models)
        packages.deploy(slow=False)
        _write_video(scratch / "parts.mkv", seed, frames=int(_RATE * (120 + count * (slow_s + 60))))
        line = Line(scratch, _lanes(scratch / "parts.mkv"), models=models, threads=1)
        try:
            wait_until(
                lambda: {message["camera"] for message in line.messages()} == {*_LANES, _OTHER}, "a lane is mute"
            )
            memory = _Memory(line)
            for _ in range(count):
                time.sleep(quick_s)
                memory.look("quick")
                packages.deploy(slow=True)
                _wait_for_version(line, packages.version)
                memory.watch("slow", slow_s)
                packages.deploy(slow=False)
                _wait_for_version(line, packages.version)
            books = line.finish()
            messages = line.messages()
        finally:
            line.kill_all()
        log = line.log()
    lanes = {name: _Lane([m for m in messages if m["camera"] == name], packages.slow_versions) for name in books}
    outcome.figures = {
        "model_ms": {name: round(milliseconds, 1) for name, milliseconds in packages.ms.items()},
        "lanes": {
            name: {
                **{key: books[name][key] for key in ("captured", "inspected", "dropped", "failed")},
                **lane.figures(),
            }
            for name, lane in lanes.items()
        },
        "pss_mb": memory.figures(),
    }
    outcome.bars = {
        "the books balance": all(one["balanced"] and one["in_flight"] == 0 for one in books.values()),
        "every drop has its lane's cause": all(
            set(books[name]["dropped"]) <= {cause, "stopped"} for name, (cause, _) in _LANES.items()
        ),
        "both policies that drop did": all(
            books[name]["dropped"].get(_LANES[name][0]) for name in ("latest", "oldest")
        ),
        "what did not arrive is what was dropped": all(
            lane.gaps_to(books[name]["captured"]) == sum(books[name]["dropped"].values())
            for name, lane in lanes.items()
        ),
        "every verdict is that of its own part": all(lane.wrong(seed) == 0 for lane in lanes.values()),
        "`latest` looks at the newest part": lanes["latest"].wait_ms(95) <= 1.5 * _PERIOD_MS,
        "the lane of the other model lost none": set(books[_OTHER]["dropped"]) <= {"stopped"},
        "no frame failed": not any(one["failed"] for one in books.values()),
        "memory is bounded": all(memory.growth_mb(name) < _MEMORY_MB for name in ("inspector", "server")),
        "no traceback": "Traceback" not in log,
    }
    return outcome


def _lanes(video: Path) -> Dict[str, Any]:
    lanes = {name: {"model": _MODEL, "policy": name, "buffer": size} for name, (_, size) in _LANES.items()}
    lanes[_OTHER] = {"model": _OTHER_MODEL, "policy": "oldest", "buffer": _OTHER_BUFFER}
    # A call that takes long on a busy machine is none that failed.
    common = {"camera": {"type": "video", "source": str(video)}, "deadline_s": _DEADLINE_S}
    return {name: {**common, **lane} for name, lane in lanes.items()}


def _wait_for_version(line: Line, version: str) -> None:
    """Until each lane of the model has an answer of this version."""

    def lanes() -> List[str]:
        return [message["camera"] for message in line.messages() if message["model"]["version"] == version]

    wait_until(lambda: set(lanes()) == set(_LANES), f"version {version} did not come to serve")


def _colour(seed: int, index: int) -> int:
    """Which colour the part at this place has: a number that no shift of the sequence leaves as it was."""
    return int(np.random.RandomState((seed + 7919 * index) % 2**32).randint(len(_COLOURS)))


def _write_video(path: Path, seed: int, frames: int) -> None:
    pictures = [np.full((_HEIGHT, _WIDTH, 3), colour, np.uint8) for colour, _ in _COLOURS]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "bgr0"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(pictures[_colour(seed, index)], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


class _Packages:
    """The quick and the slow form of one model, in versions that count up, and the other model."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self._work: Dict[bool, int] = {}
        self._number = 0
        self.slow_versions: List[str] = []
        #: Of one detection, quick and slow.
        self.ms: Dict[str, float] = {}
        self.version = "1.0.0"
        self._calibrate()
        models.mkdir()
        make_package(models / _OTHER_MODEL, raw_image_shape=(_HEIGHT, _WIDTH), work=self._work[False])

    def deploy(self, *, slow: bool) -> None:
        self._number += 1
        self.version = f"1.0.{self._number}"
        if slow:
            self.slow_versions.append(self.version)
        put_in_place(self._make(self._work[slow]), self._models / _MODEL)

    def _calibrate(self) -> None:
        """Convolutions for `_QUICK_MS`, and for ten times as long, on this machine."""
        least, more = self._milliseconds(1), self._milliseconds(21)
        quick = max(1, round(20 * (_QUICK_MS - least) / (more - least)))
        slow = _SLOWER * quick
        for _ in range(_TRIES):
            self.ms = {"quick": self._milliseconds(quick), "slow": self._milliseconds(slow)}
            factor = self.ms["slow"] / self.ms["quick"]
            if factor >= _SLOWER:
                break
            slow = round(slow * 1.05 * _SLOWER / factor)
        else:
            raise RuntimeError(f"this machine is too busy to say when a model is {_SLOWER} times slower")
        self._work = {False: quick, True: slow}

    def _milliseconds(self, work: int) -> float:
        """Of one detection; the least of some, as other work of the machine only adds to it."""
        package = self._make(work)
        pixels = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
        with open_package(package) as opened:
            model = load_model(opened, threads=1)
        try:
            times = []
            for _ in range(_CALLS):
                started = time.perf_counter()
                model.detect(pixels, None)
                times.append((time.perf_counter() - started) * 1000)
            return min(times)
        finally:
            model.close()

    def _make(self, work: int) -> Path:
        """Beside the models; the one before is not needed any more."""
        beside = self._models.with_name("new")
        shutil.rmtree(beside, ignore_errors=True)
        return make_package(beside, raw_image_shape=(_HEIGHT, _WIDTH), version=self.version, work=work)


class _Memory:
    """PSS of both processes by phase, MB."""

    def __init__(self, line: Line) -> None:
        self._processes = {"inspector": psutil.Process(line.inspector.pid), "server": psutil.Process(line.server.pid)}
        self._seen: Dict[str, Dict[str, List[float]]] = {name: {"quick": [], "slow": []} for name in self._processes}

    def look(self, phase: str) -> None:
        for name, process in self._processes.items():
            self._seen[name][phase].append(process.memory_full_info().pss / 1e6)

    def watch(self, phase: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.5)
            self.look(phase)

    def growth_mb(self, name: str) -> float:
        """How far the slow phases went above the first quick one."""
        return max(self._seen[name]["slow"]) - self._seen[name]["quick"][0]

    def figures(self) -> Dict[str, Dict[str, float]]:
        return {
            name: {"start": round(seen["quick"][0], 1), "slow_max": round(max(seen["slow"]), 1)}
            for name, seen in self._seen.items()
        }


class _Lane:
    """What arrived of one lane."""

    def __init__(self, messages: List[Dict[str, Any]], slow_versions: List[str]) -> None:
        self._messages = messages
        self._slow_waits = [
            message["timings_ms"]["wait"] for message in messages if message["model"]["version"] in slow_versions
        ]

    def gaps_to(self, captured: int) -> int:
        """Numbers from 1 to `captured` that did not arrive; each arrived once and in order."""
        sequences = [message["sequence"] for message in self._messages]
        assert sequences == sorted(set(sequences))
        return captured - len(sequences)

    def wrong(self, seed: int) -> int:
        """Inspections that name another part than their place in the sequence, or have another part's verdict."""
        return sum(not _is_right(message, seed) for message in self._messages)

    def wait_ms(self, percent: int) -> float:
        """From the slot to the model, while that was slow."""
        return float(np.percentile(self._slow_waits, percent))

    def figures(self) -> Dict[str, Any]:
        if not self._slow_waits:
            return {}
        return {"slow_wait_ms": {f"p{percent}": round(self.wait_ms(percent), 1) for percent in (50, 95, 100)}}


def _is_right(message: Dict[str, Any], seed: int) -> bool:
    index = message["sequence"] - 1
    wanted = _COLOURS[_colour(seed, index)][1]
    found = {anomaly["name"] for anomaly in message["anomalies"]} - {"background"}
    seconds = float(message["image"]["source"].rpartition("@")[2][:-1])
    return round(seconds * _RATE) == index and message["is_anomalous"] == bool(wanted) and found == ({wanted} - {""})
