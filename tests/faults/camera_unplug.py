"""Cameras are unplugged and plugged in again, one by one and all at once, beside a lane whose camera stays."""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple, Type

import numpy as np
from support.cameras.genicam import GenicamRig
from support.cameras.rig import Rig
from support.cameras.video import MjpegRig, RtspRig

from edge_agent import sample
from edge_agent.inspection import inspections_in
from faults.line import Line, wait_until
from faults.outcome import Outcome

RETURN_S = 10.0
_RIGS: Dict[str, Type[Rig]] = {"rtsp": RtspRig, "mjpeg": MjpegRig, "gige": GenicamRig}
_STEADY = "stays"
_FULL = 20
_QUIET_S = 4.0
_GIVE_UP_S = 60.0


def run(count: int, seed: int) -> Outcome:
    """Unplug `count` times; a lone camera and all of them by turns, each kind of outage for both."""
    missing = [rig.missing() for rig in _RIGS.values() if rig.missing()]
    if missing:
        raise RuntimeError(f"this machine lacks {', '.join(missing)}")
    outcome = Outcome(count)
    choices = random.Random(seed)
    outages = (5.0, 60.0) if count >= _FULL else (1.0, 3.0)
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory:
        scratch = Path(directory)
        rigs = _start_rigs(scratch)
        line = Line(scratch, _lanes(rigs))
        heard = _Heard(scratch / "record.jsonl")
        try:
            wait_until(lambda: all(heard.count(name) for name in (*rigs, _STEADY)), "not every camera gave a frame")
            returns = _unplug_repeatedly(rigs, heard, count, outages, choices)
            books = line.finish()
            stayed = heard.count(_STEADY)
        finally:
            line.kill_all()
            for rig in rigs.values():
                rig.stop()
        log = line.log()
    outcome.figures = {
        "return_s": {name: {"max": round(max(times), 2), "times": len(times)} for name, times in returns.items()},
        "steady_ms": {when: heard.p99_ms(when) for when in ("before", "away")},
        "books": {name: {key: one[key] for key in ("captured", "inspected", "dropped")} for name, one in books.items()},
    }
    steady = books[_STEADY]
    outcome.bars = {
        f"frames within {RETURN_S:g} s of the return": all(max(times) <= RETURN_S for times in returns.values()),
        # The inspector ends within 5 s; on a busy machine some wait in the spool then.
        "the lane that stays lost none": steady["captured"] == steady["inspected"] == stayed + steady["spooled"],
        "the books balance": all(one["balanced"] and one["in_flight"] == 0 for one in books.values()),
        "one line when a camera goes and one when it is back": all(
            log.count(f"lane {name}: camera: {words}") == len(times)
            for name, times in returns.items()
            for words in ("waiting", "works again")
        ),
        "no traceback": "Traceback" not in log,
    }
    if count >= _FULL:
        slower = heard.p99_ms("away") / heard.p99_ms("before")
        outcome.bars["the lane that stays keeps its 99th percentile within 10 %"] = slower <= 1.1
    return outcome


def _start_rigs(scratch: Path) -> Dict[str, Rig]:
    rigs: Dict[str, Rig] = {}
    for name, kind in _RIGS.items():
        (scratch / name).mkdir()
        rigs[name] = kind(scratch / name)
        rigs[name].start()
    return rigs


def _lanes(rigs: Dict[str, Rig]) -> Dict[str, Any]:
    lanes: Dict[str, Any] = {
        name: {"model": sample.MODEL_NAME, "camera": rig.settings(), "policy": "latest", "silent_after_s": 3}
        for name, rig in rigs.items()
    }
    lanes[_STEADY] = {"model": sample.MODEL_NAME, "camera": {"type": "sample", "rate": 10}}
    return lanes


def _unplug_repeatedly(
    rigs: Dict[str, Rig], heard: _Heard, count: int, outages: Tuple[float, float], choices: random.Random
) -> Dict[str, List[float]]:
    """Seconds from each return to the first frame that was captured after it."""
    returns: Dict[str, List[float]] = {name: [] for name in rigs}
    for number in range(count):
        heard.listen("before", _QUIET_S)
        gone = list(rigs) if number % 2 else [choices.choice(list(rigs))]
        for name in gone:
            rigs[name].stop()
        heard.listen("away", outages[number // 2 % 2])
        since: Dict[str, float] = {}
        for name in gone:
            rigs[name].start()
            since[name] = time.monotonic()
        for name, seconds in heard.wait_for_return(since).items():
            returns[name].append(seconds)
    return {name: times for name, times in returns.items() if times}


class _Heard:
    """What arrives at the nucleus, read on from where the last look ended."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._offset = 0
        self._counts: Dict[str, int] = {}
        self._total_ms: Dict[str, List[float]] = {"before": [], "away": [], "": []}

    def count(self, lane: str) -> int:
        self._look("")
        return self._counts.get(lane, 0)

    def p99_ms(self, when: str) -> float:
        """Of the lane that stays, capture to verdict."""
        return round(float(np.percentile(self._total_ms[when], 99)), 2)

    def listen(self, when: str, seconds: float) -> None:
        """Let time pass; what arrives meanwhile belongs to `when`."""
        self._look("")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.1)
            self._look(when)

    def wait_for_return(self, since: Dict[str, float]) -> Dict[str, float]:
        """Seconds from `since` until each lane is heard again."""
        self._look("")
        before = dict(self._counts)
        seconds: Dict[str, float] = {}
        while len(seconds) < len(since):
            time.sleep(0.05)
            self._look("")
            now = time.monotonic()
            for name, started in since.items():
                if name not in seconds and (self._counts[name] > before[name] or now - started > _GIVE_UP_S):
                    seconds[name] = now - started
        return seconds

    def _look(self, when: str) -> None:
        if not self._record.exists():
            return
        with self._record.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for text in whole.splitlines():
            for inspection in inspections_in(json.loads(text)["payload"]):
                camera = inspection["camera"]
                self._counts[camera] = self._counts.get(camera, 0) + 1
                if camera == _STEADY:
                    self._total_ms[when].append(inspection["timings_ms"]["total"])
