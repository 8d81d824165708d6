"""What it costs to have an inspection on disk: for each sync policy, of one lane and of eight at 1,000 a second.

    put_us      what a lane spends: `put` returns before the disk has it
    append_ms   until it is on disk as the policy promises; at 1,000 a second, of one more beside them
    fsync_ms    the same bytes appended to a plain file and synced, in the same run: what the disk itself takes

The rounds alternate, so that what else the machine does falls on all alike. The directory must lie on the disk that is
meant (`--directory`): in memory, nothing is synced.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Literal

from benchmarks import machine
from benchmarks.inspections import make_entry
from benchmarks.workload import percentile
from edge_agent.clock import SystemClock
from edge_agent.spool import Spool, SpoolSettings

SYNCS: List[Literal["always", "interval"]] = ["always", "interval"]
_LANES = 8
_RATE = 1_000
_ROUNDS = 5
_FLUSH_S = 60.0


class _Times:
    """Seconds of each put, and of each until it was on disk."""

    def __init__(self) -> None:
        self.put: List[float] = []
        self.append: List[float] = []

    def add(self, spool: Spool, camera: str) -> None:
        put = _seconds_of_put(spool, camera)
        started = time.perf_counter()
        if not spool.flush(_FLUSH_S):
            raise SystemExit("the disk does not take it")
        self.append.append(put + time.perf_counter() - started)
        self.put.append(put)

    def figures(self) -> Dict[str, Any]:
        return {"put_us": _spread(self.put, 1e6), "append_ms": _spread(self.append, 1e3)}


def _spread(seconds: List[float], unit: float) -> Dict[str, float]:
    return {f"p{p}": round(percentile(seconds, p) * unit, 3) for p in (50, 99)}


def _fsync(directory: Path, size: int, count: int) -> List[float]:
    times = []
    descriptor = os.open(str(directory / "plain"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for _ in range(count):
            started = time.perf_counter()
            os.write(descriptor, bytes(size))
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - started)
    finally:
        os.close(descriptor)
    return times


def _sustained(spool: Spool, seconds: float) -> Dict[str, Any]:
    """Eight lanes, 1,000 a second together, which do not wait; and one more, which does."""
    times = _Times()
    count = int(seconds * _RATE / _LANES)
    ready = threading.Barrier(_LANES + 1)
    done = threading.Event()
    most_in_memory = 0

    def work(camera: str, offset: float) -> None:
        ready.wait()
        begin = time.perf_counter() + offset
        for number in range(count):
            time.sleep(max(0.0, begin + number * _LANES / _RATE - time.perf_counter()))
            times.put.append(_seconds_of_put(spool, camera))

    def watch() -> None:
        nonlocal most_in_memory
        while not done.is_set():
            most_in_memory = max(most_in_memory, spool.in_memory())
            times.add(spool, "probe")
            time.sleep(0.01)

    threads = [threading.Thread(target=work, args=(f"line-{lane}", lane / _RATE)) for lane in range(_LANES)]
    watcher = threading.Thread(target=watch)
    for thread in (*threads, watcher):
        thread.start()
    ready.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    if not spool.flush(_FLUSH_S):
        raise SystemExit("the disk does not take it")
    taken = time.perf_counter() - started
    done.set()
    watcher.join()
    return {"on_disk_per_s": round(_LANES * count / taken, 1), "most_in_memory": most_in_memory, **times.figures()}


def _seconds_of_put(spool: Spool, camera: str) -> float:
    entry = make_entry(spool, camera)
    started = time.perf_counter()
    spool.put(entry)
    return time.perf_counter() - started


def _as_fast_as_it_goes(spool: Spool, count: int) -> float:
    """Inspections a second from eight lanes that do not wait."""
    entries = [make_entry(spool, f"line-{number % _LANES}") for number in range(count)]
    started = time.perf_counter()
    for entry in entries:
        spool.put(entry)
    if not spool.flush(_FLUSH_S):
        raise SystemExit("the disk does not take it")
    return count / (time.perf_counter() - started)


def _measure(directory: Path, *, rounds: int, share: int, seconds: float, burst: int) -> Dict[str, Any]:
    clock = SystemClock()
    spools = {sync: Spool(directory / sync, SpoolSettings(sync=sync), clock) for sync in SYNCS}
    for spool in spools.values():
        spool.start()
        if spool.trouble():
            raise SystemExit(str(spool.trouble()))
    size = len(make_entry(spools["always"], "size").body)
    one_lane = {sync: _Times() for sync in SYNCS}
    fsync: List[float] = []
    sustained: Dict[str, List[Dict[str, Any]]] = {sync: [] for sync in SYNCS}
    bursts: Dict[str, List[float]] = {sync: [] for sync in SYNCS}
    for _ in range(rounds):
        fsync += _fsync(directory, size, share)
        for sync, spool in spools.items():
            for _ in range(share):
                one_lane[sync].add(spool, "line-0")
            sustained[sync].append(_sustained(spool, seconds / rounds))
            bursts[sync].append(_as_fast_as_it_goes(spool, burst))
    for spool in spools.values():
        spool.close(10.0)
    return {
        "inspection_bytes": size,
        "fsync_ms": _spread(fsync, 1e3),
        "one_lane": {sync: times.figures() for sync, times in one_lane.items()},
        "over_fsync": {
            sync: round(percentile(times.append, 50) / percentile(fsync, 50), 3) for sync, times in one_lane.items()
        },
        f"at_{_RATE}_per_s": {sync: _middle(found) for sync, found in sustained.items()},
        "most_per_s": {sync: round(sorted(found)[len(found) // 2]) for sync, found in bursts.items()},
    }


def _middle(rounds: List[Dict[str, Any]]) -> Dict[str, Any]:
    """The round whose 99th percentile is the median, so that the figures belong together."""
    return sorted(rounds, key=lambda found: found["append_ms"]["p99"])[len(rounds) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round, for a look")
    parser.add_argument("--directory", type=Path, help="on the disk to measure; the temporary directory if not given")
    options = parser.parse_args()
    settings: Dict[str, Any] = (
        {"rounds": 1, "share": 50, "seconds": 1.0, "burst": 2_000}
        if options.quick
        else {"rounds": _ROUNDS, "share": 400, "seconds": 30.0, "burst": 8_000}
    )
    with tempfile.TemporaryDirectory(prefix="edge-agent-", dir=options.directory) as scratch:
        file_system = _file_system(Path(scratch))
        figures = _measure(Path(scratch), **settings)
    settings.update(lanes=_LANES, file_system=file_system, quick=options.quick)
    print(json.dumps({"machine": machine.describe(), "settings": settings, "figures": figures}, indent=1))


def _file_system(path: Path) -> str:
    """Of the mount that a path lies on, as /proc/mounts names it."""
    found = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        mount, kind = line.split()[1:3]
        if (path == Path(mount) or Path(mount) in path.parents) and len(mount) >= len(found[0]):
            found = (mount, kind)
    return found[1]


if __name__ == "__main__":
    main()
