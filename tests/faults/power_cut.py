"""Power cuts at random moments of a spool's work, on a disk that keeps what was synced and any part of the rest.

A process works a spool while a preloaded shim writes down every write and sync (tests/support/disk_shim.c). From that,
the disk is made as a power cut at any step may leave it: synced bytes are there; of the others some are, in any order,
some torn. Then the spool is started on it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Set, Tuple

from support.disk import Disk, Step, cut_power

from edge_agent.clock import SystemClock
from edge_agent.spool import Spool, SpoolSettings
from faults.outcome import Outcome

INTERVAL_S = 0.2
# For the commit that ends a window, and for a loaded machine that lets it wait.
_SLACK_S = 1.0
# One recorded life of a spool for so many cuts.
_CUTS_PER_RUN = 150


def run(count: int, seed: int) -> Outcome:
    """Cut power `count` times, half of them with each sync."""
    outcome = Outcome(count)
    choices = random.Random(seed)
    problems: List[str] = []
    totals: Dict[str, Counter[str]] = {"always": Counter(), "interval": Counter()}
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        for sync, figures in totals.items():
            lives = range(1 + count // 2 // _CUTS_PER_RUN)
            runs = [_Run(Path(scratch) / f"{sync}-{index}", sync, choices) for index in lives]
            for number in range(count // 2):
                target = Path(scratch) / f"{sync}-cut-{number}"
                problem = choices.choice(runs).cut(target, choices, figures)
                if problem:
                    problems.append(f"{sync} {number}: {problem}")
    outcome.figures = {**{sync: dict(figures) for sync, figures in totals.items()}, "problems": problems[:10]}
    outcome.bars = {
        "with `always` nothing accepted was lost": totals["always"]["lost"] == 0,
        f"with `interval` nothing older than the window of {INTERVAL_S:g} s was lost": not problems,
        "order was kept, no number was given twice, and the books balanced": not problems,
        "there was something to lose": all(figures["accepted"] > 0 for figures in totals.values()),
    }
    return outcome


class _Said(NamedTuple):
    index: int
    at_ns: int
    what: Dict[str, Any]


class _Run:
    """One recorded life of a spool."""

    def __init__(self, root: Path, sync: str, choices: random.Random) -> None:
        root.mkdir()
        disk = Disk(root)
        options = {
            "spool": {"sync": sync, "interval_s": INTERVAL_S},
            "seed": choices.randrange(1_000_000),
            "steps": 120,
            "pause_s": 0.01,
        }
        command = [sys.executable, "-m", "faults.spool_worker", str(disk.directory), json.dumps(options)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **disk.environment()}
        subprocess.run(command, env=environment, check=True, timeout=100, stdout=subprocess.DEVNULL)
        self._sync = sync
        self._source = disk.directory
        said_path = str(disk.directory / "said")
        self._steps: List[Step] = []
        self._said: List[_Said] = []
        for step in disk.journal():
            if step.path != said_path:
                self._steps.append(step)
            elif step.kind == "w":
                self._said.append(_Said(len(self._steps), step.at_ns, json.loads(step.data)))

    def cut(self, target: Path, choices: random.Random, figures: Counter[str]) -> str:
        """Cut power before one of the steps; gives what is wrong afterwards."""
        at = choices.randrange(len(self._steps))
        # What was said after step `at - 1` is said at a moment when `at` may just begin.
        said = [one for one in self._said if one.index <= at]
        target.mkdir()
        cut_power(self._steps[:at], self._source, target, choices)
        found, next_sequences, balanced = _deliver(target / "spool")
        accepted = self._must_survive(said, self._steps[at].at_ns)
        delivered = {number for one in said for number in one.what.get("delivered", ())}
        put = max((one.what["put"] for one in said if "put" in one.what), default=0)
        given: Dict[str, int] = {}
        for one in said:
            if "given" in one.what:
                lane, sequence = one.what["given"]
                given[lane] = max(given.get(lane, 0), sequence)
        lost = accepted - delivered - set(found)
        everything = max((one.what["accepted"] for one in said if "accepted" in one.what), default=0)
        figures.update(
            cuts=1,
            accepted=everything,
            lost=len(set(range(1, everything + 1)) - delivered - set(found)),
            delivered_again=len(delivered & set(found)),
        )
        checks = {
            f"lost: {sorted(lost)[:5]}": lost,
            "out of order, or twice": found != sorted(set(found)),
            "inspections that never were": [number for number in found if number > put],
            f"numbers that are given again: {given} {next_sequences}": [
                lane for lane, sequence in given.items() if next_sequences[lane] <= sequence
            ],
            "unbalanced books": not balanced,
        }
        return "; ".join(words for words, wrong in checks.items() if wrong)

    def _must_survive(self, said: List[_Said], cut_ns: int) -> Set[int]:
        window_ns = 0 if self._sync == "always" else int((INTERVAL_S + _SLACK_S) * 1e9)
        safe = [one.what["accepted"] for one in said if "accepted" in one.what and one.at_ns <= cut_ns - window_ns]
        return set(range(1, max(safe, default=0) + 1))


def _deliver(directory: Path) -> Tuple[List[int], Dict[str, int], bool]:
    """Start the spool and take everything out: the numbers, the next sequence of each lane, whether books balance."""
    spool = Spool(directory, SpoolSettings(), SystemClock())
    spool.start()
    numbers: List[int] = []
    while True:
        receipt = spool.take(7_000, 100, 0.0)
        if receipt is None:
            break
        numbers += [json.loads(body)["number"] for body in receipt.bodies]
        receipt.delivered()
    snapshots = [accounting.snapshot() for accounting in spool.accountings().values()]
    balanced = all(snapshot.balanced() and snapshot.spooled == 0 for snapshot in snapshots)
    sequences = {lane: spool.next_sequence(lane) for lane in ("line-1", "line-2", "line-3")}
    spool.close(10.0)
    return numbers, sequences, balanced
