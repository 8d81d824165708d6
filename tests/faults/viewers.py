"""A crowd looks at the live page, one of them stalled: the inspections go on as without it, and memory is bounded.

The crowd runs at the lowest priority: on a line it has a machine of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

from faults.line import Line, wait_until
from faults.outcome import Outcome, quantiles

_CROWD = Path(__file__).with_name("viewer_crowd.py")
_FULL = 50
_LANE = "a"
_RATE = 10.0
_STALLED = 1
_P99_SHARE = 1.05
_MEMORY_MB = 30.0
# Pictures are made for ten seconds after somebody looked.
_GONE_S = 11.0
_ADDRESS = re.compile(r"live page and figures on http://(\S+)/")


def run(count: int, seed: int) -> Outcome:
    """So many viewers for ten minutes, and the line alone for as long (in a short form for six seconds)."""
    outcome = Outcome(count)
    phase_s, gone_s, turns = (60.0, _GONE_S, 10) if count >= _FULL else (3.0, 0.0, 2)
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory:
        scratch = Path(directory)
        token_file = scratch / "token"
        lane = {"model": "com.edgeagent.SampleModel", "camera": {"type": "sample", "rate": _RATE, "seed": seed}}
        others = {"http": {"address": "127.0.0.1:0", "token_file": str(token_file)}}
        line = Line(scratch, {_LANE: lane}, others=others)
        seen: List[Dict[str, int]] = []
        memory: List[float] = []
        # By turns, so that whatever else the machine does falls on both alike: the sequences of each.
        alone: List[range] = []
        watched: List[range] = []

        def phase() -> range:
            first = _newest(line)
            time.sleep(phase_s)
            return range(first + 1, _newest(line) + 1)

        try:
            wait_until(lambda: len(line.messages()) > _RATE, "nothing is inspected")
            address = _address(line)
            for _ in range(turns):
                alone.append(phase())
                crowd = _Crowd(address, token_file, count)
                watched.append(phase())
                memory.append(line.inspector_pss_mb())
                seen.append(crowd.leave())
                time.sleep(gone_s)
            books = line.finish()[_LANE]
            messages = line.messages()
        finally:
            line.kill_all()
        log = line.log()
    quiet, busy = _latencies(messages, alone), _latencies(messages, watched)
    outcome.figures = {
        "inspected": books["inspected"],
        "alone_ms": quantiles(quiet),
        "watched_ms": quantiles(busy),
        "pss_mb": {"first": round(memory[0], 1), "last": round(memory[-1], 1), "max": round(max(memory), 1)},
        "seen": {key: sum(one.get(key, 0) for one in seen) for key in sorted({key for one in seen for key in one})},
    }
    sequences = [message["sequence"] for message in messages]
    outcome.bars = {
        "the books balance": books["balanced"] and not books["failed"],
        "every part was inspected and handed over once": sequences == list(range(1, books["inspected"] + 1)),
        "every turn's viewers saw changes and pictures": all(
            one.get("changes", 0) and one.get("pictures", 0) for one in seen
        ),
        "the stalled one was there": all(one.get("stalled") for one in seen),
        "memory is bounded": max(memory) - memory[0] < _MEMORY_MB,
        "no traceback": "Traceback" not in log,
    }
    if count >= _FULL:  # a few seconds say nothing of a p99
        bar = f"p99 with viewers is at most {_P99_SHARE:g} times that without"
        outcome.bars[bar] = quantiles(busy)["p99"] <= _P99_SHARE * quantiles(quiet)["p99"]
    return outcome


class _Crowd:
    def __init__(self, address: str, token_file: Path, viewers: int) -> None:
        arguments = [address, str(token_file), str(viewers), str(_STALLED)]
        self._process = subprocess.Popen(
            ["/usr/bin/env", "nice", "-n", "19", sys.executable, str(_CROWD), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def leave(self) -> Dict[str, int]:
        output, _ = self._process.communicate(timeout=60)
        seen: Dict[str, int] = json.loads(output)
        return seen


def _address(line: Line) -> str:
    wait_until(lambda: bool(_ADDRESS.search(line.log())), "the page is not served")
    found = _ADDRESS.search(line.log())
    assert found is not None
    return found.group(1)


def _newest(line: Line) -> int:
    return int(line.messages()[-1]["sequence"])


def _latencies(messages: List[Dict[str, Any]], phases: List[range]) -> List[float]:
    """From capture to verdict, milliseconds, of the parts of these phases."""
    return [
        message["timings_ms"]["total"] for message in messages if any(message["sequence"] in phase for phase in phases)
    ]
