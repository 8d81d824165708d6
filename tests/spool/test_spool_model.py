"""Any sequence of steps against a model of the spool: a queue that loses nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import List

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.spools import numbers_of, open_spool, put

LANES = ("line-1", "line-2")


class SpoolMachine(RuleBasedStateMachine):
    """`waiting` is what must still come, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._root = Path(tempfile.mkdtemp(prefix="edge-agent-"))
        self._lives = 0
        self._spool = open_spool(self._root / "0")
        self._count = 0
        self._waiting: List[int] = []
        self._highest = dict.fromkeys(LANES, 0)

    def teardown(self) -> None:
        self._spool.close(10.0)
        shutil.rmtree(self._root)

    @rule(lane=st.sampled_from(LANES), count=st.integers(1, 30), size=st.integers(0, 6_000), anomalous=st.booleans())
    def put_some(self, *, lane: str, count: int, size: int, anomalous: bool) -> None:
        for _ in range(count):
            self._count += 1
            sequence = put(self._spool, self._count, lane=lane, size=size, anomalous=anomalous)
            assert sequence > self._highest[lane]
            self._highest[lane] = sequence
            self._waiting.append(self._count)

    @rule(size=st.integers(1, 20_000), count=st.integers(1, 40), delivered=st.booleans())
    def take_some(self, *, size: int, count: int, delivered: bool) -> None:
        assert self._spool.flush(30.0)
        receipt = self._spool.take(size, count, 0.0)
        if receipt is None:
            assert self._waiting == []
            return
        numbers = numbers_of(receipt.bodies)
        assert numbers == self._waiting[: len(numbers)]
        assert len(numbers) <= count
        assert len(numbers) == 1 or sum(len(body) + 1 for body in receipt.bodies) <= size
        if delivered:
            receipt.delivered()
            del self._waiting[: len(numbers)]
        else:
            receipt.keep()

    @rule(killed=st.booleans())
    def restart(self, *, killed: bool) -> None:
        assert self._spool.flush(30.0)
        now, after = self._root / str(self._lives), self._root / str(self._lives + 1)
        if not killed:
            self._spool.close(10.0)
        shutil.copytree(now, after)
        if killed:
            self._spool.close(10.0)
        shutil.rmtree(now)
        self._lives += 1
        self._spool = open_spool(after)
        assert self._spool.trouble() is None
        assert self._spool.status()["recovered_files"] == 0

    @invariant()
    def the_books_balance(self) -> None:
        snapshots = [accounting.snapshot() for accounting in self._spool.accountings().values()]
        assert all(snapshot.balanced() for snapshot in snapshots)
        assert sum(snapshot.spooled for snapshot in snapshots) == len(self._waiting)
        assert all(snapshot.expired == {} for snapshot in snapshots)


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
