"""The model server is killed with -9 in the middle of calls, and started again, as a nucleus would.

A second client calls without pause beside the inspector, so that a call is nearly always under way when the kill
comes. Frames come from a folder that the experiment fills at a steady rate.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from PIL import Image
from support.messages import published

from edge_agent import sample
from edge_agent.clock import SystemClock
from edge_agent.detector import EdgeAgentClient, ModelSession
from edge_agent.errors import DetectorError
from edge_agent.shared_memory import Ring
from faults.outcome import Outcome

DEADLINE_S = 2.0
RECOVERY_S = 5.0
_FRAME_PERIOD_S = 0.05
_CAMERA = "line-1"


def run(count: int, seed: int) -> Outcome:
    """Kill the server `count` times."""
    outcome = Outcome(count)
    choices = random.Random(seed)
    before = _segments()
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        line = _Line(Path(scratch))
        try:
            recoveries = _kill_repeatedly(line, count, choices)
            accounting = line.finish()
        finally:
            line.kill_all()
        messages = line.messages()
    sequences = [message["sequence"] for message in messages]
    outcome.figures = {
        "recovery_s": {"max": round(max(recoveries), 3), "mean": round(sum(recoveries) / len(recoveries), 3)},
        "frames": line.made,
        "messages": len(messages),
        "caller_errors": dict(line.caller.errors),
        "caller_slowest_error_s": round(line.caller.slowest, 3),
        "accounting": accounting,
    }
    outcome.bars = {
        f"running again within {RECOVERY_S:g} s": max(recoveries) <= RECOVERY_S,
        "every error of the caller is typed": line.caller.untyped is None,
        # The deadline bounds the wait for an answer; half a second more is for a loaded machine.
        f"every error came within {DEADLINE_S + 0.5:g} s": line.caller.slowest <= DEADLINE_S + 0.5,
        "some calls were under way when the kill came": sum(line.caller.errors.values()) > 0,
        "every frame was published once and in order": sequences == list(range(1, line.made + 1)),
        "the books balance": accounting["balanced"] and accounting["delivered"] == line.made,
        "nothing is left in /dev/shm": _segments() <= before,
    }
    return outcome


def _kill_repeatedly(line: _Line, count: int, choices: random.Random) -> List[float]:
    recoveries = []
    for _ in range(count):
        line.make_frames(choices.uniform(0.2, 0.6))
        line.server.send_signal(signal.SIGKILL)
        line.server.wait()
        killed = time.monotonic()
        published = len(line.messages())
        line.start_server()
        while len(line.messages()) <= published:
            line.make_frames(_FRAME_PERIOD_S)
            if time.monotonic() - killed > 10 * RECOVERY_S:
                raise RuntimeError(f"no verdict {10 * RECOVERY_S:g} s after the kill; {line.log()}")
        recoveries.append(time.monotonic() - killed)
    return recoveries


class _Line:
    """Server, nucleus and inspector as processes, a folder of frames, and the calling client."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._images = scratch / "images"
        self._images.mkdir()
        self._record = scratch / "record.jsonl"
        self._socket = str(scratch / "server.sock")
        self._nucleus_socket = str(scratch / "nucleus.sock")
        self._parts = sample.part_stream(5)
        self._pool = [next(self._parts).image for _ in range(8)]
        self.made = 0
        component = {
            **os.environ,
            "SVCUID": "faults",
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": self._nucleus_socket,
            "AWS_IOT_THING_NAME": "faults",
        }
        self._log = (scratch / "log").open("wb")
        self.server = self.start_server()
        arguments = ["nucleus", "--socket", self._nucleus_socket, "--record", str(self._record), "--thing", "faults"]
        self._nucleus = self._launch(arguments, component)
        _wait_for(Path(self._nucleus_socket))
        _wait_for(Path(self._socket))
        configuration = scratch / "inspector.json"
        camera = {"type": "folder", "path": str(self._images), "poll_s": 0.02, "settle_s": 0}
        lane = {"model": sample.MODEL_NAME, "camera": camera, "deadline_s": DEADLINE_S}
        settings = {
            "socket": self._socket,
            "publish": {"topic": "faults/inspections"},
            "spool": {"path": str(scratch / "spool")},
            "lanes": {_CAMERA: lane},
        }
        configuration.write_text(json.dumps(settings))
        self._inspector = self._launch(["run", "--config", str(configuration)], component, subprocess.PIPE)
        self.caller = _Caller(self._socket)
        self.caller.start()
        self.make_frames(0.2)
        while not self.messages():
            time.sleep(0.05)

    def start_server(self) -> subprocess.Popen[bytes]:
        models = str(sample.models_directory())
        self.server = self._launch(["serve", "--models", models, "--socket", self._socket], dict(os.environ))
        return self.server

    def make_frames(self, seconds: float) -> None:
        """New frames for so long, one each period."""
        end = time.monotonic() + seconds
        while True:
            self.made += 1
            name = f"{self.made:06d}.png"
            hidden = self._images / f".{name}"
            Image.fromarray(self._pool[self.made % len(self._pool)]).save(hidden, "PNG", compress_level=1)
            hidden.rename(self._images / name)
            if time.monotonic() >= end:
                return
            time.sleep(_FRAME_PERIOD_S)

    def messages(self) -> List[Dict[str, Any]]:
        return published(self._record)

    def finish(self) -> Dict[str, Any]:
        """Let the line come to rest, stop the inspector and give its accounting."""
        self.caller.finish()
        deadline = time.monotonic() + 60
        while len(self.messages()) < self.made and time.monotonic() < deadline:
            time.sleep(0.05)
        self._inspector.terminate()
        output, _ = self._inspector.communicate(timeout=20)
        accounting: Dict[str, Any] = json.loads(output.decode().strip().splitlines()[-1])["accounting"][_CAMERA]
        return accounting

    def kill_all(self) -> None:
        self.caller.finish()
        for process in (self._inspector, self._nucleus, self.server):
            if process.poll() is None:
                process.terminate()
                process.wait(20)
            if process.stdout is not None:
                process.stdout.close()
        self._log.close()

    def log(self) -> str:
        return (self._scratch / "log").read_text(errors="replace")[-2000:]

    def _launch(
        self, arguments: List[str], environment: Dict[str, str], output: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "edge_agent", *arguments]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=self._log, env=environment)


class _Caller(threading.Thread):
    """Calls DetectAnomalies without pause and notes how calls fail."""

    def __init__(self, socket: str) -> None:
        super().__init__(name="caller", daemon=True)
        self._socket = socket
        self._done = threading.Event()
        self.errors: Counter[str] = Counter()
        self.slowest = 0.0
        self.untyped: Optional[BaseException] = None

    def run(self) -> None:
        client = EdgeAgentClient(self._socket, deadline_s=DEADLINE_S)
        session = ModelSession(client, sample.MODEL_NAME, SystemClock())
        ring = Ring(1)
        slot = ring.acquire()
        assert slot is not None
        pixels = slot.reserve(480, 640)
        pixels[...] = sample.render_part(3).image
        placement = slot.placement(pixels.nbytes)
        while not self._done.is_set() and self.untyped is None:
            started = time.monotonic()
            try:
                session.detect(pixels, placement)
            except DetectorError as error:
                self.errors[type(error).__name__] += 1
                self.slowest = max(self.slowest, time.monotonic() - started)
                self._done.wait(0.01)
            except Exception as error:  # noqa: BLE001 - that there is none is what the experiment shows
                self.untyped = error
        session.close()
        slot.release()
        ring.close()
        client.close()

    def finish(self) -> None:
        self._done.set()
        self.join(10)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{path} did not appear")
        time.sleep(0.02)


def _segments() -> Set[str]:
    return {path.name for path in Path("/dev/shm").glob("edge-agent-*")}
