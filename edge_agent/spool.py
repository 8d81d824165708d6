"""Where inspections wait for delivery, in memory: bounded, in order, each settled exactly once.

Limit: what waits here is lost when the process ends. It is counted as expired then (`lost_at_exit`) on an orderly
stop; a kill loses it uncounted.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Deque, Optional

from edge_agent.metrics import Accounting


@dataclass(frozen=True)
class Entry:
    """One inspection's message (UTF-8 JSON) and the accounting of the lane it came from."""

    body: bytes
    accounting: Accounting


class Receipt:
    """An entry taken out for delivery. Settle it once, by one of its three methods."""

    def __init__(self, spool: MemorySpool, entry: Entry) -> None:
        self.entry = entry
        self._spool = spool
        self._settled = False

    def delivered(self) -> None:
        self._settle()
        self.entry.accounting.deliver()

    def expire(self, policy: str) -> None:
        """Given up, and why."""
        self._settle()
        self.entry.accounting.expire(policy)

    def keep(self) -> None:
        """Not delivered: it goes back to the head of the spool."""
        self._settle()
        self._spool._put_back(self.entry)  # noqa: SLF001 - a receipt is part of its spool

    def _settle(self) -> None:
        if self._settled:
            raise RuntimeError("a receipt was settled twice")
        self._settled = True


class MemorySpool:
    """At most `capacity` entries; when full, the oldest expires (`overflow`), since the newest part is still there."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a spool holds at least one entry")
        self._capacity = capacity
        self._entries: Deque[Entry] = deque()
        self._changed = threading.Condition()

    def put(self, entry: Entry) -> None:
        with self._changed:
            self._entries.append(entry)
            self._shrink()
            self._changed.notify_all()

    def take(self, timeout: float) -> Optional[Receipt]:
        """The oldest entry, or None when there was none within `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._entries), timeout):
                return None
            return Receipt(self, self._entries.popleft())

    def expire_all(self, policy: str) -> None:
        with self._changed:
            entries, self._entries = self._entries, deque()
        for entry in entries:
            entry.accounting.expire(policy)

    def _put_back(self, entry: Entry) -> None:
        with self._changed:
            self._entries.appendleft(entry)
            self._shrink()
            self._changed.notify_all()

    def _shrink(self) -> None:
        while len(self._entries) > self._capacity:
            self._entries.popleft().accounting.expire("overflow")
