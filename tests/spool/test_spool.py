"""Order, receipts, restarts, numbers, and the books through all of it."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any, List

import pytest
from support.spools import deliver, numbers_of, open_spool, put

from edge_agent.clock import SystemClock
from edge_agent.errors import SpoolInUseError
from edge_agent.metrics import AccountingSnapshot
from edge_agent.spool import Entry, Spool, SpoolSettings, spool_directory
from edge_agent.spool.ledger import RESERVED_SEQUENCES


def _books(spool: Spool, lane: str = "line-1") -> AccountingSnapshot:
    snapshot = spool.accounting(lane).snapshot()
    assert snapshot.balanced()
    return snapshot


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.mark.parametrize("sync", ["always", "interval"])
def test_what_comes_in_goes_out_in_order_and_the_books_follow(directory: Path, sync: str) -> None:
    spool = open_spool(directory, sync=sync)
    for number in range(1, 51):
        put(spool, number, lane=f"line-{number % 3}")
    assert spool.flush(10.0)
    assert spool.status()["on_disk"] == 50
    assert deliver(spool, most=20) == list(range(1, 21))
    assert sum(_books(spool, f"line-{lane}").delivered for lane in range(3)) == 20
    assert deliver(spool) == list(range(21, 51))
    assert spool.take(1000, 1, 0.0) is None
    assert spool.status()["on_disk"] == 0
    spool.close(5.0)


def test_a_receipt_holds_what_fits_and_at_least_one(directory: Path) -> None:
    spool = open_spool(directory)
    for number, size in enumerate((100, 100, 3_000, 100)):
        put(spool, number, size=size)
    spool.flush(10.0)
    first = spool.take(1_000, 100, 0.0)
    assert first is not None
    assert numbers_of(first.bodies) == [0, 1]
    assert sum(len(body) + 1 for body in first.bodies) <= 1_000
    first.delivered()
    second = spool.take(1_000, 100, 0.0)
    assert second is not None
    assert numbers_of(second.bodies) == [2]
    second.keep()
    third = spool.take(100_000, 1, 0.0)
    assert third is not None
    assert numbers_of(third.bodies) == [2]
    third.keep()
    spool.close(5.0)


def test_a_receipt_is_settled_once_and_before_the_next(directory: Path) -> None:
    spool = open_spool(directory)
    put(spool, 1)
    spool.flush(10.0)
    receipt = spool.take(1_000, 1, 0.0)
    assert receipt is not None
    with pytest.raises(RuntimeError, match="was not settled"):
        spool.take(1_000, 1, 0.0)
    receipt.keep()
    with pytest.raises(RuntimeError, match="twice"):
        receipt.delivered()
    assert deliver(spool) == [1]
    spool.close(5.0)


def test_take_waits_for_what_comes(directory: Path) -> None:
    spool = open_spool(directory)
    taken: List[Any] = []
    thread = threading.Thread(target=lambda: taken.append(spool.take(1_000, 1, 30.0)))
    thread.start()
    put(spool, 7)
    thread.join(30.0)
    assert numbers_of(taken[0].bodies) == [7]
    taken[0].delivered()
    spool.close(5.0)


def test_many_lanes_put_at_once_and_each_keeps_its_order(directory: Path) -> None:
    spool = open_spool(directory)
    lanes = [f"line-{index}" for index in range(6)]

    def work(lane: str) -> None:
        for _ in range(100):
            put(spool, 0, lane=lane)

    threads = [threading.Thread(target=work, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spool.flush(30.0)
    sequences: dict[str, List[int]] = {lane: [] for lane in lanes}
    while True:
        receipt = spool.take(7_000, 50, 0.0)
        if receipt is None:
            break
        for body in receipt.bodies:
            sequences[json.loads(body)["lane"]].append(json.loads(body)["sequence"])
        receipt.delivered()
    spool.close(5.0)
    assert sequences == {lane: list(range(1, 101)) for lane in lanes}


def test_the_next_run_delivers_what_was_left_first_and_numbers_go_on(directory: Path) -> None:
    spool = open_spool(directory)
    for number in range(1, 11):
        put(spool, number, lane="old" if number % 2 else "line-1")
    spool.flush(10.0)
    deliver(spool, most=3)
    spool.close(5.0)
    spool = open_spool(directory)
    assert _books(spool, "old").carried == 3
    assert _books(spool).carried == 4
    assert put(spool, 11) == 6
    spool.flush(10.0)
    assert deliver(spool) == list(range(4, 12))
    books = _books(spool)
    assert (books.carried, books.inspected, books.delivered, books.spooled) == (4, 1, 5, 0)
    assert _books(spool, "old").delivered == 3
    spool.close(5.0)


def test_after_a_kill_nothing_is_lost_and_no_number_comes_again(directory: Path, tmp_path: Path) -> None:
    spool = open_spool(directory)
    for number in range(1, 9):
        put(spool, number)
    spool.flush(10.0)
    deliver(spool, most=5)
    # Numbers that were given to frames, whose inspections nobody has seen.
    given = [spool.next_sequence("line-1") for _ in range(3)]
    shutil.copytree(directory, tmp_path / "killed")  # what a kill leaves: everything written, nothing closed
    spool.close(5.0)
    after = open_spool(tmp_path / "killed")
    assert deliver(after) == [6, 7, 8]
    assert after.status()["recovered_files"] == 0
    assert given[-1] < after.next_sequence("line-1") <= given[-1] + RESERVED_SEQUENCES + 1
    assert _books(after).expired == {}
    after.close(5.0)


def test_a_second_user_waits_in_memory_until_the_first_has_gone(directory: Path) -> None:
    first = open_spool(directory)
    put(first, 1)
    first.flush(10.0)
    second = open_spool(directory)
    assert isinstance(second.trouble(), SpoolInUseError)
    put(second, 2)
    # What the other holds is older: nothing is offered before it.
    assert second.take(1_000, 1, 0.0) is None
    first.close(5.0)
    assert second.flush(30.0)
    assert second.trouble() is None
    assert deliver(second) == [1, 2]
    books = _books(second)
    assert (books.carried, books.inspected, books.delivered) == (1, 1, 2)
    second.close(5.0)


def test_what_is_too_large_for_a_page_is_a_fault_of_the_caller(directory: Path) -> None:
    spool = open_spool(directory)
    with pytest.raises(ValueError, match="is the most"):
        spool.put(Entry("line-1", 1, anomalous=False, body=b"x" * 8_000))
    spool.close(5.0)


def test_a_fault_of_ours_is_seen(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = open_spool(directory)
    spool._disk.write = None  # type: ignore[method-assign,assignment]
    put(spool, 1)
    spool._thread.join(10.0)
    assert spool.faulty()
    assert "internal error" in caplog.text
    spool.close(5.0)
    assert _books(spool).expired == {"lost_at_exit": 1}


def test_an_empty_spool_gives_its_space_back(directory: Path) -> None:
    spool = open_spool(directory)
    for number in range(3_000):
        put(spool, number, size=2_000)
    spool.flush(30.0)
    before = spool.status()["bytes"]
    deliver(spool, at_once=100)
    spool.close(5.0)
    assert before > 6_000_000
    assert sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) < 500_000


def test_where_the_spool_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    settings = SpoolSettings()
    one, other = (spool_directory(settings, tmp_path / folder / "line.yaml") for folder in ("a", "b"))
    assert one != other
    assert one.parent == state / "edge-agent"
    assert one.name.startswith("spool-line-")
    assert spool_directory(SpoolSettings(path="/data/spool"), tmp_path / "line.yaml") == Path("/data/spool")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert spool_directory(settings) == tmp_path / ".local" / "state" / "edge-agent" / "spool"
    # What both nuclei set, in the component's work directory.
    monkeypatch.setenv("GGC_VERSION", "2.6.0")
    monkeypatch.chdir(tmp_path)
    assert spool_directory(settings) == tmp_path / "spool"


def test_the_clock_of_the_machine_may_step_without_changing_order(directory: Path) -> None:
    class Steps(SystemClock):
        hour = 0

        def wall_ns(self) -> int:
            self.hour -= 1
            return super().wall_ns() + self.hour * 3_600_000_000_000

    spool = Spool(directory, SpoolSettings(), Steps())
    spool.start()
    for number in range(20):
        put(spool, number)
    spool.flush(10.0)
    assert deliver(spool) == list(range(20))
    spool.close(5.0)
