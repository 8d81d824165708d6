"""The accounting of the recorder: every inspection and every image in exactly one counted place.

    offered          = recorded + skipped + dropped(by cause) + waiting
    found + recorded = kept + removed(by cause)

`found` images were there when the recorder was opened. `reviewed` counts what people did, beside the others. Both hold at every moment: each move is one step under one lock.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict


@dataclass(frozen=True)
class RecorderSnapshot:
    """One consistent reading of a lane's books."""

    offered: int
    recorded: int
    skipped: int
    dropped: Dict[str, int]
    waiting: int
    found: int
    kept: int
    removed: Dict[str, int]
    reviewed: Dict[str, int]

    def balanced(self) -> bool:
        settled = self.recorded + self.skipped + sum(self.dropped.values())
        there = self.kept + sum(self.removed.values())
        return self.offered == settled + self.waiting and self.found + self.recorded == there

    def as_dict(self) -> Dict[str, Any]:
        return {
            "offered": self.offered,
            "recorded": self.recorded,
            "skipped": self.skipped,
            "dropped": dict(self.dropped),
            "waiting": self.waiting,
            "found": self.found,
            "kept": self.kept,
            "removed": dict(self.removed),
            "reviewed": dict(self.reviewed),
            "balanced": self.balanced(),
        }


class RecorderBooks:
    """Of one lane; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offered = 0
        self._recorded = 0
        self._skipped = 0
        self._dropped: Counter[str] = Counter()
        self._waiting = 0
        self._found = 0
        self._kept = 0
        self._removed: Counter[str] = Counter()
        self._reviewed: Counter[str] = Counter()

    def offer(self) -> None:
        """There is an inspection; what becomes of it is being decided, or its image waits."""
        with self._lock:
            self._offered += 1
            self._waiting += 1

    def skip(self) -> None:
        """Nobody wants its image."""
        with self._lock:
            self._settle()
            self._skipped += 1

    def drop(self, cause: str) -> None:
        with self._lock:
            self._settle()
            self._dropped[cause] += 1

    def record(self) -> None:
        with self._lock:
            self._settle()
            self._recorded += 1
            self._kept += 1

    def find(self, count: int) -> None:
        with self._lock:
            self._found += count
            self._kept += count

    def remove(self, cause: str, count: int = 1) -> None:
        with self._lock:
            if self._kept < count:
                raise RuntimeError("an image was removed that was never kept")
            self._kept -= count
            self._removed[cause] += count

    def review(self, outcome: str) -> None:
        """A person said `right` or `wrong` of a verdict, or took it back: `undone`."""
        with self._lock:
            self._reviewed[outcome] += 1

    def snapshot(self) -> RecorderSnapshot:
        with self._lock:
            return RecorderSnapshot(
                offered=self._offered,
                recorded=self._recorded,
                skipped=self._skipped,
                dropped=dict(self._dropped),
                waiting=self._waiting,
                found=self._found,
                kept=self._kept,
                removed=dict(self._removed),
                reviewed=dict(self._reviewed),
            )

    def _settle(self) -> None:
        if self._waiting <= 0:
            raise RuntimeError("an inspection was settled that was never offered")
        self._waiting -= 1
