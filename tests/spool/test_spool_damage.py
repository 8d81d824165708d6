"""Damage, case by case: whatever became of the files, the spool starts with everything that can be read."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Callable, Dict

import pytest
from support.spools import deliver, open_spool, put

from edge_agent.errors import SpoolDamagedError
from edge_agent.spool.record import Record, scan
from edge_agent.spool.settings import MIN_BYTES

_COUNT = 200
_PAGE = 8_192


def _generation(directory: Path) -> Path:
    return max(directory.glob("generation-*"))


def _database(directory: Path) -> Path:
    return _generation(directory) / "inspections.db"


def _log(directory: Path) -> Path:
    return _generation(directory) / "inspections.db-wal"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool of 200 inspections, of which 20 are delivered, closed in order."""
    directory = tmp_path_factory.mktemp("closed") / "spool"
    spool = open_spool(directory)
    for number in range(_COUNT):
        put(spool, number, lane=f"line-{number % 2}")
    spool.flush(30.0)
    deliver(spool, most=20)
    spool.close(5.0)
    return directory


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, killed: all of it is in the log."""
    directory = tmp_path_factory.mktemp("killed") / "spool"
    working = directory.with_name("working")
    spool = open_spool(working)
    for number in range(_COUNT):
        put(spool, number, lane=f"line-{number % 2}")
        if number % 10 == 0:
            spool.flush(30.0)
    spool.flush(30.0)
    deliver(spool, most=20)
    shutil.copytree(working, directory)
    spool.close(5.0)
    return directory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def _write(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
        file.write(data)


def _offset_of(path: Path, number: int) -> int:
    """Of the frame of an inspection; ids are one more than numbers here."""
    return next(o for o, frame in scan(path.read_bytes()) if isinstance(frame, Record) and frame.id == number + 1)


def _flip_in_record(path: Path, number: int) -> None:
    offset = _offset_of(path, number) + 100
    data = path.read_bytes()
    _write(path, offset, bytes([data[offset] ^ 4]))


def _sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(str(path), isolation_level=None)) as connection:
        connection.execute(statement)


# What is done to the database.
_CASES: Dict[str, Callable[[Path], object]] = {
    "a bit in a record": lambda path: _flip_in_record(path, 50),
    "a bit in the first that waits": lambda path: _flip_in_record(path, 20),
    "a bit in the last": lambda path: _flip_in_record(path, _COUNT - 1),
    "the header": lambda path: _write(path, 0, bytes(100)),
    "the page size": lambda path: _write(path, 16, b"\x10\x00"),
    "no WAL any more": lambda path: _write(path, 18, b"\x01\x01"),
    "another text encoding": lambda path: _write(path, 56, b"\x00\x00\x00\x02"),
    "another application": lambda path: _write(path, 68, b"\x00\x00\x00\x01"),
    "a newer schema": lambda path: _write(path, 60, b"\x00\x00\x00\x63"),
    "the schema": lambda path: _write(path, 100, bytes(_PAGE - 100)),
    "a leaf": lambda path: _write(path, 10 * _PAGE, bytes(_PAGE)),
    "the root of the table": lambda path: _write(path, _PAGE, bytes(_PAGE)),
    "the books": lambda path: _write(path, 2 * _PAGE, bytes(_PAGE)),
    "the second half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "the last byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "everything": lambda path: os.truncate(path, 0),
    "text in its place": lambda path: path.write_text("lorem ipsum " * 10_000),
    "the file": lambda path: path.unlink(),
    "no table": lambda path: _sql(path, "DROP TABLE inspections"),
    "another table": lambda path: _sql(path, "ALTER TABLE inspections RENAME TO results"),
    "text for a record": lambda path: _sql(path, "UPDATE inspections SET record = 'text' WHERE id = 60"),
    "a number for a state": lambda path: _sql(path, "UPDATE books SET frame = 5"),
    "another id": lambda path: _sql(path, "UPDATE inspections SET id = 5000 WHERE id = 60"),
    "a normal one for an anomalous": lambda path: _sql(path, "UPDATE inspections SET anomalous = 1 WHERE id = 60"),
}


_MENDED_IN_PLACE = "no WAL any more"


@pytest.mark.parametrize("case", list(_CASES))
def test_a_damaged_database(case: str, closed: Path, directory: Path) -> None:
    shutil.copytree(closed, directory)
    path = _database(directory)
    before = path.read_bytes()
    frames = {
        frame.id - 1: before[offset : offset + len(frame.encode())]
        for offset, frame in scan(before)
        if isinstance(frame, Record) and frame.id > 20
    }
    assert len(frames) == _COUNT - 20
    _CASES[case](path)
    after = path.read_bytes() if path.exists() else b""
    readable = [number for number, frame in frames.items() if frame in after]
    spool = open_spool(directory)
    assert spool.trouble() is None
    left = [number for number in deliver(spool) if number >= 20]
    assert left == sorted(readable)
    damaged = 0 if case == _MENDED_IN_PLACE else 1
    assert spool.status()["recovered_files"] == damaged
    assert len(list(directory.glob("damaged-*"))) == damaged
    books = [accounting.snapshot() for accounting in spool.accountings().values()]
    assert all(book.balanced() for book in books)
    put(spool, 777)
    spool.flush(10.0)
    assert deliver(spool) == [777]
    spool.close(5.0)


@pytest.mark.parametrize("where", ["header", "frame header", "page", "last frame header", "end"])
def test_a_damaged_log_loses_only_what_lies_in_the_damage(killed: Path, directory: Path, where: str) -> None:
    shutil.copytree(killed, directory)
    path = _log(directory)
    size = path.stat().st_size
    offset = {
        "header": 16,
        "frame header": 32 + 3 * (24 + _PAGE) + 9,
        "page": _offset_of(path, 150) + 60,
        "last frame header": size - _PAGE - 24 + 4,
        "end": size - 1,
    }[where]
    flipped = path.read_bytes()[offset] ^ 1
    _write(path, offset, bytes([flipped]))
    spool = open_spool(directory)
    assert spool.trouble() is None
    left = deliver(spool)
    books = [accounting.snapshot() for accounting in spool.accountings().values()]
    assert all(book.balanced() for book in books)
    assert left == sorted(left)
    # The pages of the log hold most inspections more than once.
    assert set(left) >= set(range(20, _COUNT)) - {150}
    spool.close(5.0)
    # The next start finds nothing wrong.
    spool = open_spool(directory)
    assert spool.status()["recovered_files"] == 0
    assert deliver(spool) == []
    spool.close(5.0)


def test_what_was_set_aside_is_bounded(closed: Path, directory: Path) -> None:
    shutil.copytree(closed, directory)
    for _ in range(5):
        _write(_database(directory), 100, bytes(_PAGE - 100))
        spool = open_spool(directory)
        assert spool.status()["recovered_files"] == 1
        spool.close(5.0)
    assert sorted(path.name for path in directory.glob("damaged-*")) == ["damaged-3", "damaged-4", "damaged-5"]
    shutil.rmtree(_generation(directory))
    spool = open_spool(directory)
    assert _generation(directory).name == "generation-6"
    spool.close(5.0)


def test_a_recovery_that_was_cut_short_begins_anew_or_ends(closed: Path, directory: Path) -> None:
    shutil.copytree(closed, directory)
    unfinished = directory / "generation-2.tmp"
    unfinished.mkdir()
    (unfinished / "inspections.db").write_bytes(b"half of it")
    spool = open_spool(directory)
    assert not unfinished.exists()
    spool.close(5.0)
    # Whole, and the damaged one was not set aside yet.
    shutil.copytree(directory / "generation-1", directory / "generation-2")
    _write(directory / "generation-1" / "inspections.db", 0, bytes(100))
    spool = open_spool(directory)
    assert spool.status()["recovered_files"] == 0
    assert [path.name for path in directory.glob("damaged-*")] == ["damaged-1"]
    assert len(deliver(spool)) == _COUNT - 20
    spool.close(5.0)


def test_damage_at_work_is_met_recovered_from_and_counted(directory: Path) -> None:
    # More than SQLite keeps in memory.
    count = 4_000
    spool = open_spool(directory)
    for number in range(count):
        put(spool, number, lane=f"line-{number % 2}")
    spool.flush(30.0)
    spool.close(5.0)
    spool = open_spool(directory)
    deliver(spool, most=10)
    for number in (1_000, 1_001):
        _flip_in_record(_database(directory), number)
    put(spool, count, lane="line-0")
    left = deliver(spool, at_once=50)
    while count not in left:
        assert spool.flush(10.0)
        left += deliver(spool, at_once=50)
    assert left == [*range(10, 1_000), *range(1_002, count + 1)]
    expired = [books.snapshot().expired for books in spool.accountings().values()]
    assert expired == [{"damaged": 1}, {"damaged": 1}]
    assert all(books.snapshot().balanced() for books in spool.accountings().values())
    spool.close(5.0)


def test_what_nothing_is_left_of_takes_no_new_inspection_with_it(directory: Path) -> None:
    from edge_agent.spool.record import Marks
    from edge_agent.spool.recovery import open_spool as open_files

    directory.mkdir()
    # Ids up to these were used in this run; the files that knew of it are gone.
    opened = open_files(directory, 1 << 30, Marks(version=7, floor=100, taken=120, evicted=90, evicted_normal=150))
    assert opened.store.last_id == 150
    assert opened.marks.floor == 100
    opened.store.close()


@pytest.mark.parametrize("policy", ["keep_newest", "keep_anomalies"])
def test_what_a_policy_expired_does_not_come_back_with_a_recovery(directory: Path, policy: str) -> None:
    count = 2_500
    spool = open_spool(directory, bytes=MIN_BYTES, policy=policy)
    for number in range(count):
        put(spool, number, anomalous=number % 5 == 0)
    spool.flush(30.0)
    books = spool.accounting("line-1").snapshot()
    assert books.expired["overflow"] > 500
    spool.close(5.0)
    _write(_database(directory), 0, bytes(100))
    spool = open_spool(directory, bytes=2 * MIN_BYTES, policy=policy)
    after = spool.accounting("line-1").snapshot()
    assert spool.status()["recovered_files"] == 1
    assert (after.carried, after.expired) == (books.spooled, {})
    assert len(deliver(spool)) == books.spooled
    spool.close(5.0)


def test_no_room_for_the_recovery_waits_for_room(
    closed: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_agent.spool import recovery

    shutil.copytree(closed, directory)
    _write(_database(directory), 100, bytes(_PAGE - 100))
    build = recovery._build
    full = {"now": True}

    def no_room(*arguments: object) -> int:
        if full["now"]:
            raise OSError(28, "No space left on device")
        return build(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(recovery, "_build", no_room)
    spool = open_spool(directory)
    assert "no room" in str(spool.trouble())
    put(spool, 500, lane="line-0")
    # What the damaged file holds is older.
    assert spool.take(1_000, 1, 0.0) is None
    full["now"] = False
    assert spool.flush(30.0)
    assert deliver(spool) == [*range(20, _COUNT), 500]
    spool.close(5.0)


def test_a_spool_that_was_deleted_starts_empty(closed: Path, directory: Path) -> None:
    shutil.copytree(closed, directory)
    shutil.rmtree(directory)
    spool = open_spool(directory)
    assert deliver(spool) == []
    assert spool.next_sequence("line-0") == 1
    spool.close(5.0)


def test_an_error_of_the_database_is_ours(tmp_path: Path) -> None:
    from edge_agent.spool.store import Store

    (tmp_path / "inspections.db").write_bytes(b"no database at all" * 1_000)
    with pytest.raises(SpoolDamagedError, match="not a database"):
        Store(tmp_path, 1 << 30)
