"""Lanes beside one another: eight that share a model against one alone, and ten that have nothing to do.

Shared: cameras that copy a frame from memory as fast as their lane takes it, one model in a server of its own process, and
every inspection published to the local nucleus. One lane and eight take turns; the ratio is the median of the rounds'.

    frames_per_s   of one lane, and of eight together
    ratio          eight together over one alone
    share          of the slowest and of the quickest of the eight, in eighths of their total; the worst round's

Idle: `edge-agent run` with lanes on empty folders, on inputs without an edge, and on calls that nobody makes, and their
models loaded nowhere as no frame asks for one.

    core_percent   processor time of that process, in hundredths of one core
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List

from benchmarks.lanes import MemoryCamera, lane_context, memory_lane
from benchmarks.workload import SIZES, render_frames
from edge_agent import sample
from edge_agent.clock import SystemClock
from edge_agent.demo.processes import Process
from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.publisher import Publisher, PublishSettings
from edge_agent.spool import Spool, SpoolSettings

_MANY, _IDLE = 8, 10
_ROUNDS = 5
_WARM_UP_S, _WINDOW_S = 1.0, 5.0
_IDLE_SETTLE_S, _IDLE_S = 5.0, 30.0
_QUICKER = 5


def settings() -> Dict[str, Any]:
    return {"lanes": _MANY, "size": list(SIZES["vga"]), "model": sample.MODEL_NAME, "rounds": _ROUNDS, "idle": _IDLE}


def measure(quick: bool) -> Dict[str, Any]:  # noqa: FBT001 - the form of every part
    rounds, less = (1, _QUICKER) if quick else (_ROUNDS, 1)
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory, _neighbours(Path(directory)) as scratch:
        one: List[float] = []
        many: List[List[float]] = []
        for _ in range(rounds):
            one += _rates(scratch, 1, _WINDOW_S / less)
            many.append(_rates(scratch, _MANY, _WINDOW_S / less))
        idle = _idle_percent(scratch, _IDLE_S / less)
    totals = [sum(rates) for rates in many]
    return {
        "shared": {
            "frames_per_s": {"1": round(statistics.median(one), 1), str(_MANY): round(statistics.median(totals), 1)},
            "ratio": round(statistics.median(total / alone for total, alone in zip(totals, one)), 3),
            "share": {
                "min": round(min(min(rates) / (sum(rates) / _MANY) for rates in many), 3),
                "max": round(max(max(rates) / (sum(rates) / _MANY) for rates in many), 3),
            },
        },
        "idle": {"core_percent": round(idle, 2)},
    }


@contextmanager
def _neighbours(scratch: Path) -> Iterator[Path]:
    """The model server and the local nucleus."""
    os.environ["SVCUID"] = os.urandom(16).hex()
    os.environ["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"] = str(scratch / "nucleus.sock")
    os.environ["AWS_IOT_THING_NAME"] = "benchmark"
    served = ["serve", "--models", str(sample.models_directory()), "--socket", str(scratch / "server.sock")]
    server = Process("server", served, scratch, {})
    nucleus = Process("nucleus", ["nucleus", "--socket", str(scratch / "nucleus.sock")], scratch, {})
    try:
        server.wait_for(scratch / "server.sock", 60)
        nucleus.wait_for(scratch / "nucleus.sock", 60)
        yield scratch
    finally:
        nucleus.stop()
        server.stop()


def _rates(scratch: Path, count: int, seconds: float) -> List[float]:
    """Inspections a second of each of so many lanes."""
    clock = SystemClock()
    spool = Spool(scratch / "spool", SpoolSettings(), clock)
    published = PublishSettings(topic="benchmark/inspections", messages_per_s=100, bytes_per_s=512_000)
    publisher = Publisher(spool, IpcClient.connect, published, clock)
    context, frames = lane_context(str(scratch / "server.sock"), spool), render_frames(SIZES["vga"])
    lanes = [memory_lane(f"lane-{number}", MemoryCamera(frames), context) for number in range(count)]
    spool.start()
    publisher.start()
    for lane in lanes:
        lane.start()
    while not all(lane.accounting.snapshot().inspected for lane in lanes):
        time.sleep(0.01)
    time.sleep(_WARM_UP_S)
    before, began = [lane.accounting.snapshot().inspected for lane in lanes], time.perf_counter()
    time.sleep(seconds)
    after, took = [lane.accounting.snapshot().inspected for lane in lanes], time.perf_counter() - began
    for lane in lanes:
        lane.stop()
    for lane in lanes:
        lane.close(5.0)
    publisher.close(5.0)
    spool.close(5.0)
    if not all(lane.accounting.snapshot().balanced() for lane in lanes):
        raise SystemExit("the books of a lane do not balance")
    return [(last - first) / took for first, last in zip(before, after)]


def _idle_percent(scratch: Path, seconds: float) -> float:
    """Hundredths of a core that the inspector takes while none of its lanes has anything to do."""
    triggers: List[Dict[str, Any]] = [
        {"type": "continuous"},
        {"type": "gpio", "chip": f"sim:{scratch}/gpio", "line": 1},
        {"type": "message", "source": "http"},
    ]
    lanes: Dict[str, Any] = {}
    for number in range(_IDLE):
        folder = scratch / f"images-{number}"
        folder.mkdir()
        trigger = triggers[number % len(triggers)]
        camera = {"type": "folder", "path": str(folder)} if number % len(triggers) == 0 else {"type": "sample"}
        lanes[f"idle-{number}"] = {"model": sample.MODEL_NAME, "camera": camera, "trigger": trigger}
    (scratch / "gpio").mkdir()
    configuration = {
        "socket": str(scratch / "server.sock"),
        "spool": {"path": str(scratch / "idle-spool")},
        "http": {"address": "127.0.0.1:0", "token_file": str(scratch / "token")},
        "lanes": lanes,
    }
    path = scratch / "idle.json"
    path.write_text(json.dumps(configuration))
    inspector = Process("inspector", ["run", "--config", str(path)], scratch, {})
    try:
        inspector.wait_for(scratch / "token", 60)
        time.sleep(_IDLE_SETTLE_S)
        before, began = _cpu_s(inspector.pid), time.perf_counter()
        time.sleep(seconds)
        inspector.check()
        return (_cpu_s(inspector.pid) - before) / (time.perf_counter() - began) * 100
    finally:
        inspector.stop()


def _cpu_s(pid: int) -> float:
    """User and system time of a process, seconds (Linux, proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
