"""The accounting of a lane: every frame and every inspection in exactly one counted place (design: promise 1).

    captured            = in_flight + inspected + dropped(by cause) + failed(by cause)
    carried + inspected = delivered + spooled + expired(by policy)

`carried` are the inspections of earlier runs that waited in the spool when this one began. Both hold at every moment: each move is one step under one lock.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict


@dataclass(frozen=True)
class AccountingSnapshot:
    """One consistent reading.

    `in_flight` frames are captured and undecided; `spooled` inspections wait for delivery; `carried` ones waited already
    when the run began. `late` counts, beside the equations, the frames that were not decided by the time that their
    lane allows.
    """

    captured: int
    in_flight: int
    inspected: int
    dropped: Dict[str, int]
    failed: Dict[str, int]
    carried: int
    delivered: int
    spooled: int
    expired: Dict[str, int]
    late: int = 0

    def balanced(self) -> bool:
        frames = self.in_flight + self.inspected + sum(self.dropped.values()) + sum(self.failed.values())
        results = self.delivered + self.spooled + sum(self.expired.values())
        return self.captured == frames and self.carried + self.inspected == results

    def as_dict(self) -> Dict[str, Any]:
        return {
            "captured": self.captured,
            "in_flight": self.in_flight,
            "inspected": self.inspected,
            "dropped": dict(self.dropped),
            "failed": dict(self.failed),
            "carried": self.carried,
            "delivered": self.delivered,
            "spooled": self.spooled,
            "expired": dict(self.expired),
            "late": self.late,
            "balanced": self.balanced(),
        }


class Accounting:
    """Counters of one lane; safe to use from its threads and to read from any other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight = 0
        self._inspected = 0
        self._dropped: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._carried = 0
        self._delivered = 0
        self._spooled = 0
        self._expired: Counter[str] = Counter()
        self._late = 0

    def capture(self) -> None:
        """A frame exists, or a capture was begun whose failure will be counted by `fail`."""
        with self._lock:
            self._in_flight += 1

    def drop(self, cause: str) -> None:
        with self._lock:
            self._leave_flight()
            self._dropped[cause] += 1

    def fail(self, cause: str) -> None:
        with self._lock:
            self._leave_flight()
            self._failed[cause] += 1

    def inspect(self) -> None:
        """The frame in flight became an inspection, which now waits for delivery."""
        with self._lock:
            self._leave_flight()
            self._inspected += 1
            self._spooled += 1

    def be_late(self) -> None:
        """A frame's time to decide has passed without a verdict."""
        with self._lock:
            self._late += 1

    def carry(self, count: int) -> None:
        """So many inspections of an earlier run wait for delivery."""
        with self._lock:
            self._carried += count
            self._spooled += count

    def deliver(self, count: int = 1) -> None:
        with self._lock:
            self._leave_spool(count)
            self._delivered += count

    def expire(self, policy: str, count: int = 1) -> None:
        with self._lock:
            self._leave_spool(count)
            self._expired[policy] += count

    def snapshot(self) -> AccountingSnapshot:
        with self._lock:
            return AccountingSnapshot(
                captured=self._in_flight + self._inspected + sum(self._dropped.values()) + sum(self._failed.values()),
                in_flight=self._in_flight,
                inspected=self._inspected,
                dropped=dict(self._dropped),
                failed=dict(self._failed),
                carried=self._carried,
                delivered=self._delivered,
                spooled=self._spooled,
                expired=dict(self._expired),
                late=self._late,
            )

    def _leave_flight(self) -> None:
        if self._in_flight <= 0:
            raise RuntimeError("a frame was settled that was never captured")
        self._in_flight -= 1

    def _leave_spool(self, count: int) -> None:
        if self._spooled < count:
            raise RuntimeError("an inspection was settled that was never spooled")
        self._spooled -= count
