from __future__ import annotations

import threading

import pytest

from edge_agent.metrics import Accounting
from edge_agent.spool import Entry, MemorySpool


def test_every_move_keeps_the_books_balanced_while_threads_race() -> None:
    accounting, wrong = Accounting(), []

    def deliver() -> None:
        accounting.inspect()
        accounting.deliver()

    def expire() -> None:
        accounting.inspect()
        accounting.expire("overflow")

    ways = [lambda: accounting.drop("stopped"), lambda: accounting.fail("image"), deliver, expire]

    def work(n: int) -> None:
        for i in range(300):
            accounting.capture()
            ways[(i + n) % len(ways)]()

    def watch() -> None:
        while any(thread.is_alive() for thread in threads):
            if not accounting.snapshot().balanced():
                wrong.append(accounting.snapshot())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    watch()
    for thread in threads:
        thread.join()
    final = accounting.snapshot()
    assert wrong == []
    assert final.balanced()
    assert (final.captured, final.in_flight, final.spooled) == (1200, 0, 0)


def test_settling_what_was_never_taken_is_a_fault() -> None:
    with pytest.raises(RuntimeError, match="never captured"):
        Accounting().inspect()
    with pytest.raises(RuntimeError, match="never spooled"):
        Accounting().deliver()


def _filled(spool: MemorySpool, count: int) -> Accounting:
    accounting = Accounting()
    for i in range(count):
        accounting.capture()
        accounting.inspect()
        spool.put(Entry(str(i).encode(), accounting))
    return accounting


def test_a_full_spool_expires_its_oldest() -> None:
    spool = MemorySpool(3)
    accounting = _filled(spool, 5)
    receipt = spool.take(0.1)
    assert receipt is not None
    assert receipt.entry.body == b"2"
    receipt.delivered()
    assert accounting.snapshot().expired == {"overflow": 2}
    assert accounting.snapshot().delivered == 1
    assert accounting.snapshot().balanced()


def test_what_is_kept_comes_first_again_and_a_receipt_settles_once() -> None:
    spool = MemorySpool(10)
    accounting = _filled(spool, 2)
    receipt = spool.take(0.1)
    assert receipt is not None
    receipt.keep()
    with pytest.raises(RuntimeError, match="twice"):
        receipt.delivered()
    again = spool.take(0.1)
    assert again is not None
    assert again.entry.body == b"0"
    again.expire("refused")
    spool.expire_all("lost_at_exit")
    assert spool.take(0.0) is None
    assert accounting.snapshot().expired == {"refused": 1, "lost_at_exit": 1}
    assert accounting.snapshot().balanced()
