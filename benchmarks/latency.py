"""What one call adds to the bare engine, and what a server costs: by shared memory, by bytes, against an echo.

The engine runs with its pre- and post-processing in this process; then the same frames, one call in flight, go to a
model server in a process of its own. By shared memory the frame already lies in its segment, as a camera's driver puts
it there, and the mask comes back through another. By bytes both travel in the messages. The echo answers with the
image's bytes and computes nothing. An empty call, ListModels after a pause as long as the engine takes, shows what of
all this any call costs at this pace. The rounds alternate, so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

from benchmarks import machine
from benchmarks.coldness import cold_over_warm
from benchmarks.workload import SIZES, WARM_UP, bare_times, package_name, percentile, render_frames, write_packages
from edge_agent import sample
from edge_agent.allocator import keep_freed_memory
from edge_agent.clock import SystemClock
from edge_agent.demo.processes import Process
from edge_agent.detector import EdgeAgentClient, ModelSession
from edge_agent.frame import Pixels, Placement
from edge_agent.shared_memory import create_segment

_CALLS = {"vga": 300, "1080p": 300, "12mp": 90}
_ROUNDS = 3
_DEADLINE_S = 30.0


def _times(call: Callable[[int], object], count: int) -> List[float]:
    """Milliseconds of each call after the first few."""
    times = []
    for index in range(count + WARM_UP):
        started = time.perf_counter()
        call(index)
        times.append((time.perf_counter() - started) * 1000)
    return times[WARM_UP:]


def _by_memory(socket: str, name: str, frames: List[Pixels], count: int) -> List[float]:
    height, width = frames[0].shape[:2]
    client = EdgeAgentClient(socket, deadline_s=_DEADLINE_S)
    session = ModelSession(client, name, SystemClock())
    segments = [create_segment(frame.nbytes) for frame in frames]
    try:
        session.ensure_running(threading.Event())
        views = [segment.pixels(0, height, width) for segment in segments]
        for view, frame in zip(views, frames):
            view[...] = frame
        places = [Placement(segment.name, 0, segment.size) for segment in segments]
        return _times(lambda i: session.detect(views[i % len(views)], places[i % len(views)]), count)
    finally:
        session.close()
        client.close()
        for segment in segments:
            segment.close()


def _by_bytes(socket: str, name: str, frames: List[Pixels], count: int) -> List[float]:
    height, width = frames[0].shape[:2]
    client = EdgeAgentClient(socket, deadline_s=_DEADLINE_S)
    try:
        return _times(
            lambda i: client.detect(name, width=width, height=height, image=frames[i % len(frames)].tobytes()), count
        )
    finally:
        client.close()


def _empty(socket: str, pause_s: float, count: int) -> List[float]:
    client = EdgeAgentClient(socket, deadline_s=_DEADLINE_S)
    times = []
    try:
        for _ in range(count + WARM_UP):
            time.sleep(pause_s)
            started = time.perf_counter()
            client.list_models()
            times.append((time.perf_counter() - started) * 1000)
    finally:
        client.close()
    return times[WARM_UP:]


def _measure(
    size: str, store: Path, server: str, echo: str, *, count: int, rounds: int, threads: int
) -> Dict[str, Any]:
    name, frames = package_name(size), render_frames(SIZES[size])
    times: Dict[str, List[float]] = {kind: [] for kind in ("bare", "shm", "bytes", "echo", "empty")}
    share = max(2, count // rounds)
    for _ in range(rounds):
        times["bare"] += bare_times(store / name, frames, share, threads)
        times["empty"] += _empty(server, percentile(times["bare"], 50) / 1000, share)
        times["shm"] += _by_memory(server, name, frames, share)
        times["bytes"] += _by_bytes(server, name, frames, share)
        times["echo"] += _by_bytes(echo, name, frames, share)
    return {kind: {f"p{p}": percentile(values, p) for p in (50, 99)} for kind, values in times.items()}


def _figures(results: Dict[str, Any], pss_mb: float) -> Dict[str, Any]:
    def added(size: str, kind: str, percent: str) -> float:
        return float(results[size][kind][percent] - results[size]["bare"][percent])

    return {
        "added_ms": {
            kind: {size: {p: round(added(size, kind, p), 3) for p in ("p50", "p99")} for size in results}
            for kind in ("shm", "bytes")
        },
        "bytes_over_shm": {size: round(added(size, "bytes", "p50") / added(size, "shm", "p50"), 1) for size in results},
        "bytes_over_echo": {
            size: round(added(size, "bytes", "p50") / results[size]["echo"]["p50"], 3) for size in results
        },
        "p99_over_p50": {
            kind: {size: round(results[size][kind]["p99"] / results[size][kind]["p50"], 3) for size in results}
            for kind in ("bare", "shm")
        },
        "empty_call_ms": {size: round(results[size]["empty"]["p50"], 3) for size in results},
        "cold_over_warm": {size: round(cold_over_warm(results[size]["bare"]["p50"] / 1000), 2) for size in results},
        "pss_mb": pss_mb,
        "ms": {
            size: {k: {p: round(v, 3) for p, v in ps.items()} for k, ps in results[size].items()} for size in results
        },
    }


def _pss_mb(scratch: Path) -> float:
    """Of a server that has answered a call and holds no model."""
    empty, socket = scratch / "empty", scratch / "empty.sock"
    empty.mkdir()
    server = Process("empty", ["serve", "--models", str(empty), "--socket", str(socket)], scratch, {})
    try:
        server.wait_for(socket, 60)
        client = EdgeAgentClient(str(socket), deadline_s=_DEADLINE_S)
        client.list_models()
        client.close()
        return round(machine.pss_mb(server.pid), 1)
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls in one round, for a look")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    keep_freed_memory()
    rounds = 1 if options.quick else _ROUNDS
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory:
        scratch = Path(directory)
        store = scratch / "models"
        write_packages(store)
        socket, echo_socket = scratch / "server.sock", scratch / "echo.sock"
        arguments = ["serve", "--models", str(store), "--socket", str(socket), "--threads", str(options.threads)]
        server = Process("server", arguments, scratch, {})
        with subprocess.Popen([sys.executable, "-m", "benchmarks.echo", str(echo_socket)]) as echo:
            try:
                server.wait_for(socket, 60)
                server.wait_for(echo_socket, 60)
                results = {
                    size: _measure(
                        size,
                        store,
                        str(socket),
                        str(echo_socket),
                        count=_CALLS[size] // 10 if options.quick else _CALLS[size],
                        rounds=rounds,
                        threads=options.threads,
                    )
                    for size in SIZES
                }
            finally:
                echo.kill()
                server.stop()
        figures = _figures(results, _pss_mb(scratch))
    settings = {"threads": options.threads, "quick": options.quick, "rounds": rounds, "model": sample.MODEL_NAME}
    print(json.dumps({"machine": machine.describe(), "settings": settings, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
