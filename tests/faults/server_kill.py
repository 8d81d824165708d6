"""The model server is killed with -9 in the middle of calls, and started again, as a nucleus would.

A second client calls without pause beside the inspector, so that a call is nearly always under way when the kill
comes. Frames come from a folder that the experiment fills at a steady rate.
"""

from __future__ import annotations

import random
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from PIL import Image

from edge_agent import sample
from edge_agent.clock import SystemClock
from edge_agent.detector import EdgeAgentClient, ModelSession
from edge_agent.errors import DetectorError
from edge_agent.shared_memory import Ring
from faults.line import Line, wait_until
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


class _Line(Line):
    """With a second client beside the inspector, and a folder that is filled at a steady rate."""

    def __init__(self, scratch: Path) -> None:
        self._images = scratch / "images"
        self._images.mkdir()
        self._parts = sample.part_stream(5)
        self._pool = [next(self._parts).image for _ in range(8)]
        self.made = 0
        camera = {"type": "folder", "path": str(self._images), "poll_s": 0.02, "settle_s": 0}
        super().__init__(scratch, {_CAMERA: {"model": sample.MODEL_NAME, "camera": camera, "deadline_s": DEADLINE_S}})
        self.caller = _Caller(self.socket)
        self.caller.start()
        self.make_frames(0.2)
        wait_until(lambda: bool(self.messages()), "no message came")

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

    def finish(self) -> Dict[str, Any]:
        """Let the line come to rest, stop the inspector and give its accounting."""
        self.caller.finish()
        deadline = time.monotonic() + 60
        while len(self.messages()) < self.made and time.monotonic() < deadline:
            time.sleep(0.05)
        accounting: Dict[str, Any] = super().finish()[_CAMERA]
        return accounting

    def kill_all(self) -> None:
        self.caller.finish()
        super().kill_all()


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


def _segments() -> Set[str]:
    return {path.name for path in Path("/dev/shm").glob("edge-agent-*")}
