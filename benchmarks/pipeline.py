"""The whole path against the bare engine: frames/s and added latency, by shared memory and by bytes.

The bare loop runs the same engine, pre- and post-processing with the same thread count on the same frames, in this
process. The path is the real one: a lane with its two threads, the model server and the local nucleus in processes of
their own, every inspection published. Its camera only copies a frame into the slot, as a camera driver does.

    ratio     frames/s of the path with the camera as fast as the lane takes frames, over frames/s of the bare loop
    added_ms  slot filled to inspection spooled, one frame in flight, less the bare loop's median or 99th percentile

The rounds alternate, so that what else the machine does falls on both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from benchmarks import machine
from benchmarks.lanes import MemoryCamera, lane_context, memory_lane
from benchmarks.workload import SIZES, WARM_UP, bare_times, package_name, percentile, render_frames, write_packages
from edge_agent import sample
from edge_agent.allocator import keep_freed_memory
from edge_agent.clock import SystemClock
from edge_agent.demo.processes import Process
from edge_agent.frame import Pixels
from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.publisher import Publisher, PublishSettings
from edge_agent.spool import Entry, Spool, SpoolSettings

TRANSPORTS = {"shm": "shared_memory", "bytes": "bytes"}
_FRAMES = {"vga": 150, "1080p": 120, "12mp": 60}
_ROUNDS = 3


class _WatchedSpool(Spool):
    """Notes when each inspection arrives, and lets the next frame go."""

    def __init__(self, directory: Path, gate: Optional[threading.Semaphore]) -> None:
        super().__init__(directory, SpoolSettings(), SystemClock())
        self._gate = gate
        self.arrived: List[float] = []
        self.added: List[float] = []

    def put(self, entry: Entry) -> None:
        self.arrived.append(time.perf_counter())
        timings = json.loads(entry.body)["timings_ms"]
        self.added.append(timings["wait"] + timings["detect"])
        super().put(entry)
        if self._gate is not None:
            self._gate.release()


def _path(
    name: str, frames: List[Pixels], count: int, transport: str, socket: str, *, one_at_a_time: bool
) -> Tuple[List[float], float]:
    """Milliseconds from slot to spool for each frame, and frames/s."""
    gate = threading.Semaphore(1) if one_at_a_time else None
    spool = _WatchedSpool(Path(socket).with_name("spool"), gate)
    # As fast as any nucleus takes messages: what goes out must not be what is measured.
    published = PublishSettings(topic="benchmark/inspections", messages_per_s=100, bytes_per_s=512_000)
    publisher = Publisher(spool, IpcClient.connect, published, SystemClock())
    camera = MemoryCamera(frames, count=count + WARM_UP, gate=gate)
    context = lane_context(socket, spool)
    lane = memory_lane("benchmark", camera, context, name, pixels=TRANSPORTS[transport], deadline_s=30.0)
    spool.start()
    publisher.start()
    lane.start()
    while not lane.finished():
        time.sleep(0.01)
    lane.close(5.0)
    while lane.accounting.snapshot().spooled:
        time.sleep(0.01)
    publisher.close(5.0)
    spool.close(5.0)
    books = lane.accounting.snapshot()
    if books.delivered != count + WARM_UP:
        raise SystemExit(f"the path lost frames: {books.as_dict()}")
    arrived = spool.arrived[WARM_UP:]
    return spool.added[WARM_UP:], (len(arrived) - 1) / (arrived[-1] - arrived[0])


def _measure(
    name: str, size: str, store: Path, socket: str, *, count: int, rounds: int, threads: int
) -> Dict[str, Any]:
    frames = render_frames(SIZES[size])
    bare: List[float] = []
    added: Dict[str, List[float]] = {transport: [] for transport in TRANSPORTS}
    rates: Dict[str, List[float]] = {transport: [] for transport in TRANSPORTS}
    share = max(2, count // rounds)
    for _ in range(rounds):
        bare += bare_times(store / name, frames, share, threads)
        for transport in TRANSPORTS:
            latencies, _rate = _path(name, frames, share, transport, socket, one_at_a_time=True)
            added[transport] += latencies
            _latencies, rate = _path(name, frames, share, transport, socket, one_at_a_time=False)
            rates[transport].append(rate)
    bare_rate = 1000 / statistics.mean(bare)
    return {
        "bare": {"frames_per_s": round(bare_rate, 2), "p50": percentile(bare, 50), "p99": percentile(bare, 99)},
        "frames_per_s": {t: round(statistics.mean(rates[t]), 2) for t in TRANSPORTS},
        "ratio": {t: round(statistics.mean(rates[t]) / bare_rate, 4) for t in TRANSPORTS},
        "added_ms": {
            t: {f"p{p}": round(percentile(added[t], p) - percentile(bare, p), 3) for p in (50, 99)} for t in TRANSPORTS
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the frames in one round, for a look")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    keep_freed_memory()
    rounds = 1 if options.quick else _ROUNDS
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        store = Path(scratch) / "models"
        write_packages(store)
        token = os.urandom(16).hex()
        socket, nucleus_socket = f"{scratch}/server.sock", f"{scratch}/nucleus.sock"
        os.environ["SVCUID"] = token
        os.environ["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"] = nucleus_socket
        arguments = ["serve", "--models", str(store), "--socket", socket, "--threads", str(options.threads)]
        server = Process("server", arguments, Path(scratch), {})
        nucleus = Process("nucleus", ["nucleus", "--socket", nucleus_socket], Path(scratch), {})
        try:
            server.wait_for(Path(socket), 60)
            nucleus.wait_for(Path(nucleus_socket), 60)
            results = {}
            for size in SIZES:
                count = _FRAMES[size] // 5 if options.quick else _FRAMES[size]
                results[size] = _measure(
                    package_name(size), size, store, socket, count=count, rounds=rounds, threads=options.threads
                )
        finally:
            nucleus.stop()
            server.stop()
    figures: Dict[str, Any] = {
        "ratio": {t: {size: results[size]["ratio"][t] for size in SIZES} for t in TRANSPORTS},
        "added_ms": {t: {size: results[size]["added_ms"][t] for size in SIZES} for t in TRANSPORTS},
        "frames_per_s": {t: {size: results[size]["frames_per_s"][t] for size in SIZES} for t in TRANSPORTS},
        "bare": {size: results[size]["bare"] for size in SIZES},
    }
    settings = {
        "threads": options.threads,
        "quick": options.quick,
        "rounds": rounds,
        "frames": {size: _FRAMES[size] // (5 if options.quick else 1) for size in SIZES},
        "model": sample.MODEL_NAME,
    }
    print(json.dumps({"machine": machine.describe(), "settings": settings, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
