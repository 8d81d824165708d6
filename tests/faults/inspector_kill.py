"""The inspector is killed with -9 at random moments, and started again, as a nucleus would.

Two cameras, 20 frames a second together. The nucleus is online, offline or slow, so that the kill meets the spool full,
empty and in the middle of a delivery. What the spool had accepted is read from its files right after each kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Dict, List, Set

from PIL import Image
from support.messages import published

from edge_agent import sample
from edge_agent.greengrass.nucleus import LocalNucleus
from edge_agent.spool import Look
from edge_agent.spool.recovery import newest_generation
from faults.outcome import Outcome

_CAMERAS = ("line-1", "line-2")
_FRAME_PERIOD_S = 0.1
_MOODS = ("online", "online", "offline", "slow")


def run(count: int, seed: int) -> Outcome:
    """Kill the inspector `count` times."""
    outcome = Outcome(count)
    choices = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        line = _Line(Path(scratch))
        try:
            for _ in range(count):
                line.live(choices)
                line.kill()
                line.start()
            accounting = line.finish()
        finally:
            line.stop_all()
        messages = published(line.record)
        status = _status(line.spool)
        largest_message = line.largest_message()
    names = Counter((message["camera"], message["sequence"]) for message in messages)
    ids = {(message["camera"], message["sequence"], message["id"], message["image"]["source"]) for message in messages}
    outcome.figures = {
        "frames": line.made,
        "accepted": len(line.accepted),
        "messages": len(messages),
        "kills_with_a_backlog": line.backlogs,
        "largest_backlog": line.largest_backlog,
        "duplicates": {"total": sum(names.values()) - len(names), "most_of_one_kill": max(line.duplicates)},
        "largest_message": largest_message,
        "accounting": accounting,
        "books": status["lanes"],
    }
    outcome.bars = {
        "nothing accepted was lost": not line.accepted - {message["image"]["source"] for message in messages},
        "order was kept for each camera": all(_ordered(messages, camera) for camera in _CAMERAS),
        "no kill repeated more than one message": max(line.duplicates) <= largest_message,
        "no (camera, sequence) names two inspections": len(ids) == len(names),
        "some kills met a backlog": line.backlogs > 0,
        "the spool was never damaged": not status["set_aside"] and not line.damage,
        "the books balance": all(books["balanced"] and not books["spooled"] for books in accounting.values())
        and all(book["inspected"] == book["delivered"] for book in status["lanes"].values()),
    }
    return outcome


class _Line:
    """Model server and inspector as processes, a local nucleus, and a folder of frames for each camera."""

    def __init__(self, scratch: Path) -> None:
        self.record = scratch / "record.jsonl"
        self.spool = scratch / "spool"
        self.made = 0
        self.accepted: Set[str] = set()
        self.duplicates: List[int] = []
        self.backlogs = self.largest_backlog = 0
        self.damage: List[str] = []
        self._repeated = 0
        self._scratch = scratch
        self._log = (scratch / "log").open("wb")
        parts = sample.part_stream(5)
        self._pool = [next(parts).image for _ in range(8)]
        for camera in _CAMERAS:
            (scratch / camera).mkdir()
        socket = str(scratch / "server.sock")
        self._configuration = scratch / "inspector.json"
        lanes = {
            camera: {
                "model": sample.MODEL_NAME,
                "camera": {"type": "folder", "path": str(scratch / camera), "poll_s": 0.01, "settle_s": 0},
            }
            for camera in _CAMERAS
        }
        self._configuration.write_text(
            json.dumps(
                {
                    "socket": socket,
                    "publish": {"topic": "faults/inspections"},
                    "spool": {"path": str(self.spool)},
                    "lanes": lanes,
                }
            )
        )
        self.nucleus = LocalNucleus(scratch / "nucleus.sock", record=self.record, thing="faults")
        self.nucleus.start()
        self._server = self._launch(["serve", "--models", str(sample.models_directory()), "--socket", socket])
        self._inspector = self._launch(["run", "--config", str(self._configuration)])

    def live(self, choices: random.Random) -> None:
        """Let the line run until the inspector works, and then for a random time."""
        self._set_mood(choices.choice(_MOODS))
        before = self._seen()
        deadline = time.monotonic() + 60
        while self._seen() <= before:
            self._make_frames(0.2)
            if time.monotonic() > deadline:
                raise RuntimeError(f"the inspector does nothing; {self.log()}")
        self._make_frames(choices.uniform(0.0, 0.6))
        time.sleep(choices.uniform(0.0, _FRAME_PERIOD_S))

    def kill(self) -> None:
        """And look at what the spool has."""
        self._inspector.send_signal(signal.SIGKILL)
        self._inspector.communicate()
        messages = published(self.record)
        with closing(Look(self.spool)) as look:
            waiting = [json.loads(record.body)["image"]["source"] for record in look.records()]
            if look.damage is not None:
                self.damage.append(str(look.damage))
        self.accepted |= {message["image"]["source"] for message in messages} | set(waiting)
        self.backlogs += bool(waiting)
        self.largest_backlog = max(self.largest_backlog, len(waiting))
        self._note_repeats(messages)
        # Frames in flight at a kill are lost with the camera's memory; here, the camera is the folder.
        for camera in _CAMERAS:
            for path in (self._scratch / camera).iterdir():
                path.unlink()

    def start(self) -> None:
        self._inspector = self._launch(["run", "--config", str(self._configuration)])

    def finish(self) -> Dict[str, Any]:
        """Let everything out, stop the inspector and give its accounting."""
        self._set_mood("online")
        deadline = time.monotonic() + 120
        while not self._at_rest() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._inspector.terminate()
        output, _ = self._inspector.communicate(timeout=20)
        self._note_repeats(published(self.record))
        accounting: Dict[str, Any] = json.loads(output.decode().strip().splitlines()[-1])["accounting"]
        return accounting

    def stop_all(self) -> None:
        for process in (self._inspector, self._server):
            if process.poll() is None:
                process.kill()
            process.wait(20)
            if process.stdout is not None:
                process.stdout.close()
        self.nucleus.stop()
        self._log.close()

    def largest_message(self) -> int:
        """Inspections in the largest message."""
        lines = [json.loads(line)["payload"] for line in self.record.read_text().splitlines()]
        return max((len(line.get("inspections", ())) or 1 for line in lines), default=1)

    def log(self) -> str:
        return (self._scratch / "log").read_text(errors="replace")[-2000:]

    def _set_mood(self, mood: str) -> None:
        self.nucleus.command("reset")
        if mood == "offline":
            self.nucleus.full()
        elif mood == "slow":
            self.nucleus.command("slow", seconds=0.1)

    def _note_repeats(self, messages: List[Dict[str, Any]]) -> None:
        """Duplicates since the kill before."""
        repeated = len(messages) - len({(message["camera"], message["sequence"]) for message in messages})
        self.duplicates.append(repeated - self._repeated)
        self._repeated = repeated

    def _seen(self) -> int:
        """Inspections that were ever accepted."""
        if newest_generation(self.spool) is None:
            return 0  # the first start has not come so far
        return sum(book["inspected"] for book in _status(self.spool)["lanes"].values())

    def _at_rest(self) -> bool:
        status = _status(self.spool)
        return bool(status["in_use"]) and status["inspections"] == 0

    def _make_frames(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            for camera in _CAMERAS:
                self.made += 1
                name = f"{self.made:06d}.png"
                hidden = self._scratch / camera / f".{name}"
                Image.fromarray(self._pool[self.made % len(self._pool)]).save(hidden, "PNG", compress_level=1)
                hidden.rename(self._scratch / camera / name)
            if time.monotonic() >= end:
                return
            time.sleep(_FRAME_PERIOD_S)

    def _launch(self, arguments: List[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "edge_agent", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if arguments[0] == "run" else subprocess.DEVNULL,
            stderr=self._log,
            env={**os.environ, **self.nucleus.environment()},
        )


def _status(directory: Path) -> Dict[str, Any]:
    with closing(Look(directory)) as look:
        return look.status()


def _ordered(messages: List[Dict[str, Any]], camera: str) -> bool:
    """Whether each inspection came after those before it, when it came first."""
    first_seen = dict.fromkeys(message["sequence"] for message in messages if message["camera"] == camera)
    return list(first_seen) == sorted(first_seen)
