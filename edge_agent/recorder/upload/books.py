"""The accounting of the upload: every image that is to be in S3 in exactly one counted place, by lane.

    found + wanted = uploaded + waiting + lost(by cause)

`found` images waited when the recorder was opened. It holds at every moment: each move is one step under one lock.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict


@dataclass
class _Lane:
    found: int = 0
    wanted: int = 0
    uploaded: int = 0
    waiting: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> Dict[str, Any]:
        settled = self.uploaded + self.waiting + sum(self.lost.values())
        return {
            "found": self.found,
            "wanted": self.wanted,
            "uploaded": self.uploaded,
            "waiting": self.waiting,
            "lost": dict(self.lost),
            "balanced": self.found + self.wanted == settled,
        }

    def settle(self, count: int) -> None:
        if self.waiting < count:
            raise RuntimeError("an upload was settled that did not wait")
        self.waiting -= count


class UploadBooks:
    """Of all lanes; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: Dict[str, _Lane] = {}
        self._failed = 0
        self._bytes = 0

    def find(self, lane: str, count: int) -> None:
        with self._lock:
            one = self._of(lane)
            one.found += count
            one.waiting += count

    def want(self, lane: str) -> None:
        with self._lock:
            one = self._of(lane)
            one.wanted += 1
            one.waiting += 1

    def upload(self, lane: str) -> None:
        with self._lock:
            one = self._of(lane)
            one.settle(1)
            one.uploaded += 1

    def lose(self, lane: str, cause: str) -> None:
        with self._lock:
            one = self._of(lane)
            one.settle(1)
            one.lost[cause] += 1

    def leave(self) -> None:
        """What waits is left where it is."""
        with self._lock:
            for one in self._lanes.values():
                if one.waiting:
                    one.lost["left"] += one.waiting
                    one.waiting = 0

    def sent(self, size: int) -> None:
        """An object of so many bytes is in S3."""
        with self._lock:
            self._bytes += size

    def failed(self) -> None:
        """An attempt failed."""
        with self._lock:
            self._failed += 1

    def waiting(self) -> int:
        with self._lock:
            return sum(one.waiting for one in self._lanes.values())

    def as_dict(self) -> Dict[str, Any]:
        with self._lock:
            lanes = {name: one.as_dict() for name, one in self._lanes.items()}
            return {"failed": self._failed, "bytes": self._bytes, "lanes": lanes}

    def _of(self, lane: str) -> _Lane:
        return self._lanes.setdefault(lane, _Lane())
