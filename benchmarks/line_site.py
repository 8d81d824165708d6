"""A line as it is in a plant: the inspector as `edge-agent run` composes it, a model server and the local nucleus.

The inspector is this process, which does nothing else meanwhile; the others have theirs. Its cameras copy parts from memory
at their rate. Each lane has an output `gpio` on a simulated chip, which writes down when it was driven.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import msgspec

from benchmarks.lanes import MemoryCamera
from benchmarks.line_server import Note, read_notes
from benchmarks.workload import SIZES, package_name, percentile, render_frames, write_packages
from edge_agent.agent import Inspector, Operation
from edge_agent.cameras import CameraSettings
from edge_agent.cameras.sample import SampleSettings
from edge_agent.clock import Clock, SystemClock
from edge_agent.demo.processes import Process

_START_S, _STOP_S = 60.0, 20.0
# Parts before those that count, in seconds of them: the model has started, and everything has been called.
_WARM_UP_S = 2.0
# The last parts of a window are on their way when it ends.
_SETTLE_S = 0.5
_PULSE_MS = 10.0


class Load(NamedTuple):
    """What the cameras give.

    Attributes:
        cameras: how many.
        rate: parts a second of each.
        size: of the frames; see benchmarks.workload.
        together: all at the same moment; else evenly one after the other.
    """

    cameras: int
    rate: float
    size: str = "vga"
    together: bool = False


class Share(NamedTuple):
    """What the model server has of the machine: threads, and engines of the model that share them."""

    threads: int
    units: int = 1


class Window(NamedTuple):
    """A stretch of time on the monotonic clock, nanoseconds."""

    begin_ns: int
    end_ns: int

    def has(self, at_ns: int) -> bool:
        return self.begin_ns <= at_ns < self.end_ns


class Site:
    """Made by `site`."""

    def __init__(self, scratch: Path, load: Load) -> None:
        self._scratch = scratch
        self._load = load
        self._frames = render_frames(SIZES[load.size])
        self._cameras: List[MemoryCamera] = []
        self._clock = SystemClock()
        # When all are open, for certain.
        self._begin_ns = self._clock.monotonic_ns() + 1_000_000_000
        self._stop = threading.Event()
        self.token_file = scratch / "token"
        self.operation = Operation(
            self._configure(), thing="benchmark", clock=self._clock, stop=self._stop, cameras=self._camera
        )
        self._thread = threading.Thread(target=self.operation.run)

    @property
    def inspector(self) -> Inspector:
        assert self.operation.inspector is not None
        return self.operation.inspector

    def start(self) -> None:
        """Until parts come regularly."""
        first = _WARM_UP_S * self._load.rate
        self._thread.start()
        _until(lambda: self.operation.inspector is not None and bool(self.operation.http_address))
        _until(lambda: all(books.inspected > first for books in self.inspector.accounting().values()))

    def change(self, **settings: Any) -> None:
        """Put other settings of the inspector into force."""
        self.inspector.apply(msgspec.structs.replace(self.inspector.settings, **settings))

    def run(self, seconds: float) -> Window:
        """Let so much time pass."""
        begin_ns = self._clock.monotonic_ns()
        time.sleep(seconds)
        return Window(begin_ns, self._clock.monotonic_ns())

    def settle(self) -> None:
        """Until what is on its way is done."""
        time.sleep(_SETTLE_S)

    def finish(self) -> Dict[str, Any]:
        """Stop; the last report."""
        self.settle()
        self._stop.set()
        self._thread.join(_STOP_S)
        report = self.operation.report()
        assert report is not None
        return report

    def to_output_ms(self, *windows: Window) -> List[float]:
        """From the capture of each part of these windows to the moment when its output was driven; after `finish`."""
        found: List[float] = []
        for number, camera in enumerate(self._cameras):
            driven_ns = [at_ns for at_ns, level in read_levels(self._scratch / f"line{number}.out") if level]
            # The parts of the last moments may not have come so far.
            for captured_ns, at_ns in zip(camera.captured_ns, driven_ns):
                if any(window.has(captured_ns) for window in windows):
                    found.append((at_ns - captured_ns) / 1e6)
        return found

    def late_ms(self, *windows: Window) -> List[float]:
        """How much later than it was due each part of these windows was captured: its lane was not ready for it."""
        return [
            (captured_ns - due_ns) / 1e6
            for camera in self._cameras
            for captured_ns, due_ns in zip(camera.captured_ns, camera.due_ns)
            if any(window.has(captured_ns) for window in windows)
        ]

    def notes(self, *windows: Window) -> List[Note]:
        """What the model server wrote down; when it has ended."""
        notes = read_notes(self._scratch / "notes")
        return [note for note in notes if any(window.has(note.done_ns) for window in windows)]

    def _configure(self) -> Path:
        load, lanes, outputs = self._load, {}, {}
        for number in range(load.cameras):
            camera = {"type": "sample", "rate": load.rate}
            lanes[f"line-{number}"] = {"model": package_name(load.size), "camera": camera}
            outputs[f"gate-{number}"] = {
                # What is late is to be seen, not left out.
                "max_late_ms": 60_000,
                "lanes": [f"line-{number}"],
                "to": {"type": "gpio", "chip": f"sim:{self._scratch}", "line": number, "pulse_ms": _PULSE_MS},
            }
        path = self._scratch / "inspector.json"
        configuration = {
            "socket": str(self._scratch / "server.sock"),
            "spool": {"path": str(self._scratch / "spool")},
            "http": {"address": "127.0.0.1:0", "token_file": str(self.token_file)},
            "lanes": lanes,
            "outputs": outputs,
        }
        path.write_text(json.dumps(configuration))
        return path

    def _camera(self, settings: CameraSettings, _clock: Clock) -> MemoryCamera:
        assert isinstance(settings, SampleSettings)
        share = 0.0 if self._load.together else len(self._cameras) / self._load.cameras
        begin_ns = self._begin_ns + round(share / settings.rate * 1e9)
        camera = MemoryCamera(self._frames, rate=settings.rate, begin_ns=begin_ns)
        self._cameras.append(camera)
        return camera


@contextmanager
def site(scratch: Path, load: Load, share: Share) -> Iterator[Site]:
    """A line that runs, in an empty directory; what it wrote down can be asked for when it has ended."""
    write_packages(scratch / "models")
    os.environ["SVCUID"] = os.urandom(16).hex()
    os.environ["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"] = str(scratch / "nucleus.sock")
    nucleus = Process("nucleus", ["nucleus", "--socket", str(scratch / "nucleus.sock")], scratch, {})
    serve = [sys.executable, "-m", "benchmarks.line_server", str(scratch / "models"), str(scratch / "server.sock")]
    server = subprocess.Popen([*serve, str(share.threads), str(share.units), str(scratch / "notes")])
    try:
        nucleus.wait_for(scratch / "nucleus.sock", _START_S)
        _until((scratch / "server.sock").exists)
        line = Site(scratch, load)
        line.start()
        try:
            yield line
        finally:
            report = line.finish()
    finally:
        nucleus.stop()
        server.terminate()
        server.wait(_STOP_S)
    for kind in ("accounting", "outputs"):
        check(kind, report[kind])


def check(kind: str, books: Dict[str, Any]) -> None:
    """Nothing was lost on the way."""
    for name, one in books.items():
        counts = one.get("counts", one)
        if (
            not counts["balanced"]
            or counts["failed"]
            or sum(counts["dropped"].values()) > counts["dropped"].get("stopped", 0)
        ):
            raise SystemExit(f"{kind} of {name}: parts were lost: {counts}")


def read_levels(record: Path) -> List[List[int]]:
    """What a line of the simulated chip was driven to: nanoseconds of the monotonic clock, level."""
    return [[int(word) for word in line.split()] for line in record.read_text().splitlines()]


def quantiles(values: List[float]) -> Dict[str, float]:
    found = {f"p{percent}": round(percentile(values, percent), 3) for percent in (50, 99)}
    return {**found, "max": round(max(values), 3)}


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("the line did not start")
        time.sleep(0.02)
