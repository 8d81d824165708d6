from __future__ import annotations

import threading

import pytest

from edge_agent.metrics import Accounting


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


def test_what_an_earlier_run_left_is_on_both_sides() -> None:
    accounting = Accounting()
    accounting.carry(3)
    accounting.deliver(2)
    accounting.expire("damaged")
    books = accounting.snapshot()
    assert books.balanced()
    assert (books.carried, books.inspected, books.delivered, books.spooled) == (3, 0, 2, 0)
