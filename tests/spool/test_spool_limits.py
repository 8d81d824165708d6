"""No room: the byte limit, a full disk, a disk that fails, and the policies in each."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from support.disk import Disk
from support.spools import ChildSpool, deliver, numbers_of, open_spool, put

from edge_agent.spool.settings import MIN_BYTES

POLICIES = ("keep_newest", "keep_oldest", "keep_anomalies")
_COUNT = 2_500  # of 500 bytes: more than MIN_BYTES holds


def _database(directory: Path) -> Path:
    (path,) = directory.glob("generation-*/inspections.db")
    return path


def _is_anomalous(number: int) -> bool:
    return number % 5 == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_a_full_spool_expires_by_its_policy_and_stays_below_its_limit(tmp_path: Path, policy: str) -> None:
    spool = open_spool(tmp_path / "spool", bytes=MIN_BYTES, policy=policy)
    for number in range(_COUNT):
        put(spool, number, anomalous=_is_anomalous(number))
        if number % 100 == 0:
            assert spool.flush(30.0)
    assert spool.flush(30.0)
    books = spool.accounting("line-1").snapshot()
    assert books.balanced()
    assert books.expired == {"overflow": _COUNT - books.spooled}
    assert 1_000 < books.spooled < 2_000
    assert _database(tmp_path / "spool").stat().st_size <= MIN_BYTES
    left = deliver(spool)
    spool.close(5.0)
    assert len(left) == books.spooled
    assert left == sorted(left)
    if policy == "keep_newest":
        assert left == list(range(_COUNT - len(left), _COUNT))
    elif policy == "keep_oldest":
        assert left == list(range(len(left)))
    else:
        anomalies = [number for number in range(_COUNT) if _is_anomalous(number)]
        normal = [number for number in left if not _is_anomalous(number)]
        assert [number for number in left if _is_anomalous(number)] == anomalies
        # The newest of the normal ones, but for what a restart of the group cost.
        assert normal == [number for number in range(normal[0], _COUNT) if not _is_anomalous(number)]


def test_when_only_anomalies_are_left_the_oldest_goes_and_for_no_normal_one(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool", bytes=MIN_BYTES, policy="keep_anomalies")
    for number in range(_COUNT):
        put(spool, number, anomalous=True)
    spool.flush(30.0)
    books = spool.accounting("line-1").snapshot()
    for number in range(_COUNT, _COUNT + 300):
        put(spool, number, anomalous=False)
    spool.flush(30.0)
    left = deliver(spool)
    spool.close(5.0)
    # Each that went made room for another; none went for a normal one, of which few found room that was left.
    assert [number for number in left if number < _COUNT] == list(range(books.expired["overflow"], _COUNT))
    assert len(left) < books.spooled + 150


def test_what_is_out_for_delivery_never_expires(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool", bytes=MIN_BYTES)
    for number in range(50):
        put(spool, number)
    spool.flush(30.0)
    receipt = spool.take(7_000, 10, 0.0)
    assert receipt is not None
    for number in range(50, _COUNT):
        put(spool, number)
    spool.flush(30.0)
    out = numbers_of(receipt.bodies)
    receipt.keep()
    left = deliver(spool)
    spool.close(5.0)
    assert left[: len(out)] == out
    assert left[len(out)] > 50
    books = spool.accounting("line-1").snapshot()
    assert books.balanced()
    assert books.delivered + books.expired["overflow"] == _COUNT


def test_a_smaller_limit_holds_from_the_next_start(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool", bytes=8 * MIN_BYTES)
    for number in range(_COUNT):
        put(spool, number)
    spool.flush(30.0)
    spool.close(5.0)
    spool = open_spool(tmp_path / "spool", bytes=MIN_BYTES)
    put(spool, _COUNT)
    spool.flush(30.0)
    books = spool.accounting("line-1").snapshot()
    assert books.expired["overflow"] > 500
    assert spool.status()["bytes"] <= MIN_BYTES
    assert deliver(spool)[-1] == _COUNT
    spool.close(5.0)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture
def children(disk: Disk) -> Iterator[List[ChildSpool]]:
    started: List[ChildSpool] = []
    yield started
    for child in started:
        child.kill()


def _child(children: List[ChildSpool], disk: Disk, **settings: Any) -> ChildSpool:
    children.append(ChildSpool(disk.directory / "spool", disk.environment(), **settings))
    return children[-1]


def _books(child: ChildSpool) -> Dict[str, Any]:
    books = child.ask("books")["line-1"]
    assert books["balanced"]
    return dict(books)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_full_disk_stops_nobody_and_the_policy_decides(disk: Disk, children: List[ChildSpool], policy: str) -> None:
    child = _child(children, disk, policy=policy, memory_bytes=50_000)
    for number in range(400):
        child.ask("put", number=number, anomalous=_is_anomalous(number))
        assert number % 50 or child.ask("flush")
    assert child.ask("flush")
    disk.begin("full")
    # The log still has room of its own, and so has memory; then something must go.
    for number in range(400, 2_500):
        child.ask("put", number=number, anomalous=_is_anomalous(number))
    child.ask("flush", timeout=1.0)
    during = _books(child)
    assert during["inspected"] == 2_500
    assert during["expired"]["disk_full"] > 0
    disk.end("full")
    assert child.ask("flush", timeout=30.0)
    assert child.ask("trouble") == ""
    child.ask("put", number=2_500)
    assert child.ask("flush")
    left = child.ask("deliver")
    after = _books(child)
    assert after["delivered"] == len(left)
    assert after["delivered"] + sum(after["expired"].values()) == 2_501
    assert left == sorted(set(left))
    assert left[-1] == 2_500
    if policy == "keep_oldest":
        assert left[:400] == list(range(400))
    if policy == "keep_newest":
        assert left[-50:] == list(range(2_451, 2_501))
    assert children.pop().close() == 0


def test_with_a_full_disk_results_go_out_from_memory(disk: Disk, children: List[ChildSpool]) -> None:
    child = _child(children, disk, policy="keep_oldest")
    disk.begin("full")
    # Until the log's own space is used up.
    for number in range(1_500):
        child.ask("put", number=number)
    child.ask("flush", timeout=1.0)
    status = child.ask("status")
    assert status["in_memory"] > 0
    assert "no room" in status["trouble"]
    delivered = child.ask("deliver")
    assert delivered == list(range(1_500))
    assert _books(child)["expired"] == {}
    disk.end("full")
    child.ask("put", number=1_500)
    assert child.ask("flush", timeout=30.0)
    # What went from memory and what was settled while the disk was full does not come again.
    assert child.ask("deliver") == [1_500]
    assert children.pop().close() == 0
    spool = open_spool(disk.directory / "spool")
    assert deliver(spool) == []
    spool.close(5.0)


def test_a_disk_that_fails_is_tried_again_and_loses_nothing(disk: Disk, children: List[ChildSpool]) -> None:
    child = _child(children, disk)
    for number in range(10):
        child.ask("put", number=number)
    assert child.ask("flush")
    disk.begin("eio")
    for number in range(10, 20):
        child.ask("put", number=number)
    assert not child.ask("flush", timeout=1.0)
    assert "I/O error" in child.ask("trouble")
    assert _books(child)["spooled"] == 20
    disk.end("eio")
    assert child.ask("flush", timeout=30.0)
    assert child.ask("deliver") == list(range(20))
    assert _books(child)["delivered"] == 20
    assert children.pop().close() == 0


def test_a_sector_that_cannot_be_read_costs_what_lies_in_it(disk: Disk, children: List[ChildSpool]) -> None:
    spool = open_spool(disk.directory / "spool")
    for number in range(400):
        put(spool, number)
    spool.flush(30.0)
    spool.close(5.0)
    bad = (_database(disk.directory / "spool"), 100_000)
    children.append(ChildSpool(disk.directory / "spool", disk.environment(bad)))
    child = children[-1]
    left = child.ask("deliver")
    books = _books(child)
    assert 380 < len(left) < 400
    assert left == sorted(left)
    assert books["expired"] == {"damaged": 400 - len(left)}
    assert child.ask("status")["recovered_files"] == 1
    assert children.pop().close() == 0


def test_no_place_for_a_spool_is_no_reason_not_to_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    in_the_way = tmp_path / "state"
    in_the_way.write_text("a file where a directory should be")
    spool = open_spool(in_the_way / "spool", memory_bytes=3_000, policy="keep_newest")
    assert spool.trouble() is not None
    sequences = [put(spool, number, size=400) for number in range(10)]
    assert sequences == list(range(1, 11))
    first = spool.take(1_000, 1, 0.0)
    assert first is not None
    assert numbers_of(first.bodies)[0] > 0
    books = spool.accounting("line-1").snapshot()
    assert books.balanced()
    assert books.expired["disk_failed"] > 0
    first.keep()
    in_the_way.unlink()
    assert spool.flush(30.0)
    assert spool.trouble() is None
    left = deliver(spool)
    assert left == list(range(10 - len(left), 10))
    assert spool.next_sequence("line-1") == 11
    spool.close(5.0)
    assert caplog.text.count("waiting") == 1
    assert caplog.text.count("works again") == 1


def test_what_is_safe_is_told_once_and_what_was_lost_never(tmp_path: Path) -> None:
    in_the_way = tmp_path / "state"
    in_the_way.write_text("a file where a directory should be")
    spool = open_spool(in_the_way / "spool", memory_bytes=3_000, policy="keep_newest")
    safe: List[int] = []
    for number in range(10):
        put(spool, number, size=400, safe=functools.partial(safe.append, number))
    assert safe == []
    waiting = spool.in_memory()
    delivered = deliver(spool, most=1)
    assert safe == delivered
    in_the_way.unlink()
    assert spool.flush(30.0)
    spool.close(5.0)
    # Those that had no room in memory expired, and were never safe.
    assert 1 < waiting < 10
    assert safe == list(range(10 - waiting, 10))


def test_a_run_that_ends_without_a_disk_counts_what_it_loses(tmp_path: Path) -> None:
    in_the_way = tmp_path / "state"
    in_the_way.write_text("")
    spool = open_spool(in_the_way / "spool")
    for number in range(5):
        put(spool, number)
    assert deliver(spool, most=2) == [0, 1]
    spool.close(5.0)
    books = spool.accounting("line-1").snapshot()
    assert books.balanced()
    assert (books.delivered, books.expired) == (2, {"lost_at_exit": 3})
