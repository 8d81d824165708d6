"""An hour offline, then everything through a nucleus that is held to its limits, with live traffic on top.

36,000 inspections (10 a second for an hour) wait in the spool. Then a lane inspects 10 frames a second by a real model
server, and the publisher drains, against a local nucleus in a process of its own:

    lite      at most 10 messages and 15,000 bytes without an acknowledgement, which takes 0.1 s; the default settings
    classic   its own pace: 100 messages and 512,000 bytes a second, messages of 16 kB

    drain_s             until the last of the backlog was handed over
    inspection_ms       capture to verdict of the live frames, before, during and after the drain
    p99_ratio           its 99th percentile during the drain, over that of the time before and after
    in_order            whether each camera's inspections came to the nucleus in order (those that came twice: at first)
    missing, twice      inspections that never came, and that came again, since an answer was late
    most_per_s          messages and bytes in the fullest second
    pss                 of this process over many publishes, one inspection each, as fast as they go
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Deque, Dict, Iterator, List, Optional, Tuple

import numpy as np

from benchmarks import machine
from benchmarks.inspections import make_entry
from benchmarks.lanes import MemoryCamera, lane_context, memory_lane
from benchmarks.machine import pss_mb
from benchmarks.workload import SIZES, percentile, render_frames
from edge_agent import sample
from edge_agent.clock import SystemClock
from edge_agent.demo.processes import Process
from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.publisher import Publisher, PublishSettings
from edge_agent.inspection import inspections_in
from edge_agent.spool import Entry, Spool, SpoolSettings

_TOPIC = "edge-agent/benchmark/inspections"
_BACKLOG_CAMERA, _LIVE_CAMERA = "offline", "live"
_LIVE_RATE = 10
_ACKNOWLEDGE_S = 0.1
_PUBLISH: Dict[str, PublishSettings] = {
    "lite": PublishSettings(topic=_TOPIC),
    "classic": PublishSettings(
        topic=_TOPIC, message_bytes=16_384, batch=1_000, messages_per_s=100, bytes_per_s=512_000
    ),
}
_PSS_SAMPLES = 20
_AT_ONCE = 500


class _WatchedSpool(Spool):
    """Notes how long each live inspection took from capture to verdict, milliseconds."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, SpoolSettings(), SystemClock())
        self.took: List[float] = []

    def put(self, entry: Entry) -> None:
        if entry.lane == _LIVE_CAMERA:
            self.took.append(json.loads(entry.body)["timings_ms"]["total"])
        super().put(entry)


class _UnhurriedClock(SystemClock):
    """For the publisher alone: no pace and no back-off takes time."""

    def wait(self, event: threading.Event, seconds: float) -> bool:  # noqa: ARG002 - the clock's signature
        return event.is_set()


@contextlib.contextmanager
def _nucleus(scratch: Path, mode: str, *, record: Optional[Path] = None) -> Iterator[None]:
    # The one before of this mode has removed it.
    socket = scratch / f"{mode}.sock"
    os.environ["SVCUID"] = "benchmark"
    os.environ["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"] = str(socket)
    arguments = ["nucleus", "--socket", str(socket), "--mode", mode]
    nucleus = Process(f"nucleus-{mode}", arguments + (["--record", str(record)] if record else []), scratch, {})
    try:
        nucleus.wait_for(socket, 60)
        if record is not None:
            control = [sys.executable, "-m", "edge_agent", "nucleus-control", "--socket", str(socket)]
            command = [*control, "slow-acks", str(_ACKNOWLEDGE_S)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        yield
    finally:
        nucleus.stop()


def _drain(scratch: Path, mode: str, server: str, *, backlog: int, normal_s: float) -> Dict[str, Any]:
    record = scratch / f"{mode}.jsonl"
    spool = _WatchedSpool(scratch / f"spool-{mode}")
    spool.start()
    camera = MemoryCamera(render_frames(SIZES["vga"]), rate=_LIVE_RATE)
    lane = memory_lane(_LIVE_CAMERA, camera, lane_context(server, spool), deadline_s=30.0)
    with _nucleus(scratch, mode, record=record):
        publisher = Publisher(spool, IpcClient.connect, _PUBLISH[mode], SystemClock())
        publisher.start()
        lane.start()
        while len(spool.took) < 2 * _LIVE_RATE:  # the model has started, the first frames are behind us
            time.sleep(0.1)
        before = _took(spool, normal_s)
        waiting: Deque[Entry] = deque(make_entry(spool, _BACKLOG_CAMERA) for _ in range(backlog))
        started = time.perf_counter()
        while waiting:
            # No line is so quick: what the disk has not yet taken waits in memory, where there is less room.
            for _ in range(min(_AT_ONCE, len(waiting))):
                spool.put(waiting.popleft())
            if not spool.flush(60.0):
                raise SystemExit("the disk does not take it")
        first = len(spool.took)
        offline = spool.accounting(_BACKLOG_CAMERA)
        while offline.snapshot().spooled:
            time.sleep(0.05)
        drain_s = time.perf_counter() - started
        during = spool.took[first:]
        after = _took(spool, normal_s)
        camera.ended.set()
        while not lane.finished() or spool.accounting(_LIVE_CAMERA).snapshot().spooled:
            time.sleep(0.05)
        lane.close(5.0)
        publisher.close(20.0)
        spool.close(20.0)
    normal = before + after
    return {
        "drain_s": round(drain_s, 1),
        "per_s": round(backlog / drain_s, 1),
        "inspection_ms": {
            when: {f"p{p}": round(percentile(took, p), 2) for p in (50, 99)}
            for when, took in (("normal", normal), ("during", during))
        },
        "frames": {"normal": len(normal), "during": len(during)},
        "p99_ratio": round(percentile(during, 99) / percentile(normal, 99), 3),
        **_published(record, {_BACKLOG_CAMERA: backlog, _LIVE_CAMERA: lane.accounting.snapshot().delivered}),
    }


def _took(spool: _WatchedSpool, seconds: float) -> List[float]:
    first = len(spool.took)
    time.sleep(seconds)
    return spool.took[first:]


def _published(record: Path, expected: Dict[str, int]) -> Dict[str, Any]:
    """What the nucleus accepted: order, batches, and the fullest second."""
    cameras: Dict[str, List[int]] = {camera: [] for camera in expected}
    sent: List[Tuple[float, int]] = []
    largest = 0
    with record.open() as lines:
        for line in lines:
            entry = json.loads(line)
            moment = dt.datetime.fromisoformat(entry["received_at"].replace("Z", "+00:00")).timestamp()
            sent.append((moment, len(json.dumps(entry["payload"], separators=(",", ":")))))
            inspections = inspections_in(entry["payload"])
            largest = max(largest, len(inspections))
            for inspection in inspections:
                cameras[inspection["camera"]].append(inspection["sequence"])
    seen = {camera: list(dict.fromkeys(found)) for camera, found in cameras.items()}
    seconds = [
        [size for at, size in sent[first : first + 200] if at < sent[first][0] + 1] for first in range(len(sent))
    ]
    return {
        "in_order": all(first == sorted(first) for first in seen.values()),
        "missing": sum(expected[camera] - len(first) for camera, first in seen.items()),
        "twice": sum(len(cameras[camera]) - len(first) for camera, first in seen.items()),
        "messages": len(sent),
        "largest_batch": largest,
        "most_per_s": {"messages": max(map(len, seconds)), "bytes": max(map(sum, seconds))},
    }


def _pss(scratch: Path, mode: str, publishes: int) -> Dict[str, Any]:
    """Memory of this process over many publishes."""
    spool = Spool(scratch / f"spool-pss-{mode}", SpoolSettings(sync="interval"), SystemClock())
    spool.start()
    settings = PublishSettings(topic=_TOPIC, batch=1)
    samples: List[float] = []
    done: List[int] = []
    with _nucleus(scratch, mode):
        publisher = Publisher(spool, IpcClient.connect, settings, _UnhurriedClock())
        publisher.start()
        books = spool.accounting("pss")
        started = time.perf_counter()
        for number in range(1, publishes + 1):
            spool.put(make_entry(spool, "pss"))
            while books.snapshot().spooled > 50:
                time.sleep(0.001)
            if number % (publishes // _PSS_SAMPLES) == 0:
                samples.append(pss_mb(os.getpid()))
                done.append(number)
        while books.snapshot().spooled:
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        publisher.close(20.0)
    spool.close(20.0)
    # The first fifth fills caches and pools.
    settled = _PSS_SAMPLES // 5
    slope = float(np.polyfit(done[settled:], samples[settled:], 1)[0]) * 1e6
    return {
        "publishes": publishes,
        "per_s": round(publishes / seconds, 1),
        "first_mb": round(samples[settled], 2),
        "last_mb": round(samples[-1], 2),
        "slope_bytes_per_publish": round(slope, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small backlog and few publishes, for a look")
    parser.add_argument("--mode", choices=sorted(_PUBLISH), help="one of the two nuclei; both if not given")
    parser.add_argument("--publishes", type=int, help="for the slope of memory; 100000 if not given, 2000 with --quick")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the model server")
    parser.add_argument("--directory", type=Path, help="for the spools; the temporary directory if not given")
    options = parser.parse_args()
    backlog, normal_s = (300, 2.0) if options.quick else (36_000, 60.0)
    publishes = options.publishes or (2_000 if options.quick else 100_000)
    modes = [options.mode] if options.mode else sorted(_PUBLISH)
    figures: Dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="edge-agent-", dir=options.directory) as name:
        scratch = Path(name)
        socket = str(scratch / "server.sock")
        arguments = ["serve", "--models", str(sample.models_directory()), "--socket", socket]
        arguments += ["--threads", str(options.threads)]
        server = Process("server", arguments, scratch, {})
        try:
            server.wait_for(Path(socket), 60)
            figures["drain"] = {
                mode: _drain(scratch, mode, socket, backlog=backlog, normal_s=normal_s) for mode in modes
            }
        finally:
            server.stop()
        figures["pss"] = {mode: _pss(scratch, mode, publishes) for mode in modes}
    settings = {
        "backlog": backlog,
        "live_per_s": _LIVE_RATE,
        "normal_s": normal_s,
        "acknowledge_s": _ACKNOWLEDGE_S,
        "threads": options.threads,
        "quick": options.quick,
    }
    print(json.dumps({"machine": machine.describe(), "settings": settings, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
