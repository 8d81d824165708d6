"""Inspections in memory, on their way to disk: for the time of one commit, or as long as the disk takes nothing."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Callable, Deque, List

from edge_agent.frame import do_nothing

#: What may wait here, in bytes of JSON; beyond it the policy decides.
MEMORY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """One inspection on its way into the spool.

    Attributes:
        lane: the camera's.
        sequence: of its frame.
        anomalous: its verdict, which `keep_anomalies` looks at.
        body: the published JSON, UTF-8.
        safe: called once, by a thread of the spool or of the publisher, when it is on disk or was delivered without
            it; not when it expired before. It must return soon.
    """

    lane: str
    sequence: int
    anomalous: bool
    body: bytes
    safe: Callable[[], None] = field(default=do_nothing, repr=False, compare=False)


@dataclass(frozen=True)
class Waiting:
    """An entry, the number of its `put`, and the wall clock then."""

    number: int
    came_at_ns: int
    entry: Entry


class Pending:
    """In the order of their numbers. Its caller holds a lock.

    Args:
        policy: of SpoolSettings.
        capacity: in bytes.
    """

    def __init__(self, policy: str, capacity: int) -> None:
        self._policy = policy
        self._capacity = capacity
        self._queue: Deque[Waiting] = deque()
        self._bytes = 0
        # How many at the head are in the hands of the thread that writes, which may have written them.
        self.committing = 0

    def __len__(self) -> int:
        return len(self._queue)

    def first_number(self) -> int:
        return self._queue[0].number

    def add(self, item: Waiting) -> List[Waiting]:
        """Take it in; gives what must expire for it, which may be itself."""
        self._queue.append(item)
        self._bytes += len(item.entry.body)
        return self._expire()

    def batch(self, count: int) -> List[Waiting]:
        """The first ones, at most `count`, which stay until `written` or `not_written`."""
        batch: List[Waiting] = []
        # While they are being written they cannot expire: most of the room is for what can.
        room = self._capacity // 4
        for item in itertools.islice(self._queue, count):
            batch.append(item)
            room -= len(item.entry.body)
            if room <= 0:
                break
        self.committing = len(batch)
        return batch

    def written(self) -> None:
        for _ in range(self.committing):
            self._remove(0)
        self.committing = 0

    def not_written(self) -> None:
        self.committing = 0

    def take(self, max_bytes: int, max_count: int) -> List[Waiting]:
        """The first ones, out of here, at least one: as many as `max_count` and `max_bytes` allow."""
        taken = [self._remove(0)]
        size = len(taken[0].entry.body) + 1
        while self._queue and len(taken) < max_count:
            size += len(self._queue[0].entry.body) + 1
            if size > max_bytes:
                break
            taken.append(self._remove(0))
        return taken

    def put_back(self, items: List[Waiting]) -> List[Waiting]:
        """At the head again; gives what must expire for it."""
        self._queue.extendleft(reversed(items))
        self._bytes += sum(len(item.entry.body) for item in items)
        return self._expire()

    def clear(self) -> List[Waiting]:
        items = list(self._queue)
        self._queue.clear()
        self._bytes = self.committing = 0
        return items

    def _expire(self) -> List[Waiting]:
        expired = []
        while self._bytes > self._capacity and len(self._queue) > self.committing:
            expired.append(self._remove(self._victim()))
        return expired

    def _victim(self) -> int:
        if self._policy == "keep_oldest":
            return len(self._queue) - 1
        if self._policy == "keep_anomalies":
            for index in range(self.committing, len(self._queue)):
                if not self._queue[index].entry.anomalous:
                    return index
        return self.committing

    def _remove(self, index: int) -> Waiting:
        item = self._queue[index]
        del self._queue[index]
        self._bytes -= len(item.entry.body)
        return item
