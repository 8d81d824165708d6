"""The accounting of an output: every part that it was offered in exactly one counted place.

    offered = applied + skipped + dropped(by cause) + failed(by cause) + waiting

It holds at every moment: each move is one step under one lock.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict


@dataclass(frozen=True)
class OutputSnapshot:
    """One consistent reading.

    `skipped` parts do not meet the rule; `undecided` counts, beside the equation, the parts offered without a verdict.
    """

    offered: int
    applied: int
    skipped: int
    dropped: Dict[str, int]
    failed: Dict[str, int]
    waiting: int
    undecided: Dict[str, int]

    def balanced(self) -> bool:
        settled = self.applied + self.skipped + sum(self.dropped.values()) + sum(self.failed.values())
        return self.offered == settled + self.waiting

    def as_dict(self) -> Dict[str, Any]:
        return {
            "offered": self.offered,
            "applied": self.applied,
            "skipped": self.skipped,
            "dropped": dict(self.dropped),
            "failed": dict(self.failed),
            "waiting": self.waiting,
            "undecided": dict(self.undecided),
            "balanced": self.balanced(),
        }


class OutputBooks:
    """Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offered = 0
        self._applied = 0
        self._skipped = 0
        self._dropped: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._waiting = 0
        self._undecided: Counter[str] = Counter()

    def offer(self) -> None:
        """A part is there for the output, and waits."""
        with self._lock:
            self._offered += 1
            self._waiting += 1

    def note_undecided(self, cause: str) -> None:
        """The part that was offered has no verdict."""
        with self._lock:
            self._undecided[cause] += 1

    def apply(self) -> None:
        with self._lock:
            self._settle()
            self._applied += 1

    def skip(self) -> None:
        with self._lock:
            self._settle()
            self._skipped += 1

    def drop(self, cause: str) -> None:
        with self._lock:
            self._settle()
            self._dropped[cause] += 1

    def fail(self, cause: str) -> None:
        with self._lock:
            self._settle()
            self._failed[cause] += 1

    def snapshot(self) -> OutputSnapshot:
        with self._lock:
            return OutputSnapshot(
                offered=self._offered,
                applied=self._applied,
                skipped=self._skipped,
                dropped=dict(self._dropped),
                failed=dict(self._failed),
                waiting=self._waiting,
                undecided=dict(self._undecided),
            )

    def _settle(self) -> None:
        if self._waiting <= 0:
            raise RuntimeError("a part was settled that was never offered")
        self._waiting -= 1
