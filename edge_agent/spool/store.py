"""The spool's database: one SQLite file in WAL mode. What is in it, and nothing of why.

SQL of SQLite 3.22, which is what JetPack 4 has.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Optional, Sequence, Tuple

from edge_agent.errors import SpoolDamagedError, SpoolError, SpoolFullError, SpoolUnavailableError
from edge_agent.spool.record import Book, Frame, Marks, Record, decode

FILE_NAME = "inspections.db"
LOG_NAME = FILE_NAME + "-wal"
#: A record is at most one page long (record.py), so it never spills over to a second one.
PAGE_BYTES = 8_192

_APPLICATION_ID = 0x45415350
_SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE inspections (id INTEGER PRIMARY KEY, anomalous INTEGER NOT NULL, record BLOB NOT NULL)",
    # '' is the row of the marks.
    "CREATE TABLE books (lane TEXT PRIMARY KEY, frame BLOB NOT NULL) WITHOUT ROWID",
)
# Pages of the log at which SQLite moves them into the database: 2 MiB.
_CHECKPOINT_PAGES = 256
_BUSY_S = 5.0
# What SQLite keeps of a leaf page, and of each record in it, at most.
_PAGE_OVERHEAD, _RECORD_OVERHEAD = 12, 20
# Pages that one transaction may need beside its records: splits up to the root, marks and books.
_SPARE_PAGES = 6
# A file that ran empty and is larger gives its pages back.
_SHRINK_PAGES = 512

# Texts of SQLite (Python has no error codes before 3.11). Every other error is one of the file itself.
_PASSING = ("I/O error", "unable to open", "readonly", "locked", "locking", "out of memory", "interrupted")


def create(directory: Path) -> None:
    """Make an empty database in an empty directory, durable."""
    with mapped(directory):
        connection = sqlite3.connect(str(directory / FILE_NAME), isolation_level=None)
        with contextlib.closing(connection):
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            for statement in _SCHEMA:
                connection.execute(statement)
        sync_directory(directory)


def make_directory(directory: Path) -> None:
    """Make it where it is missing, with those above it, durable."""
    if not directory.is_dir():
        make_directory(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)
        sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(str(directory), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn what SQLite and the operating system raise into SpoolErrors about `path`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _spool_error(path, str(error)) from error
    except OSError as error:
        raise _spool_error(path, error.strerror or str(error), passing=True) from error


def _decode(value: Any) -> Optional[Frame]:
    # A damaged row may hold a value of any type.
    return decode(value) if isinstance(value, bytes) else None


def _spool_error(path: Path, text: str, *, passing: bool = False) -> SpoolError:
    text = " ".join(text.split())  # of a damaged file SQLite writes several lines
    if "is full" in text or "No space left" in text or "quota exceeded" in text:
        return SpoolFullError(str(path), f"the disk has no room ({text})", "Free some.")
    if passing or any(words in text for words in _PASSING):
        return SpoolUnavailableError(str(path), f"cannot be used ({text})", "Check the disk and the permissions.")
    return SpoolDamagedError(str(path), f"is damaged ({text})")


class Store:
    """One open database. Used by one thread at a time; each method may raise a SpoolError.

    Args:
        directory: where `create` made it.
        max_bytes: the largest size of the file, which SQLite itself holds; None: to read only, also beside another
            process that writes.
        at_rest: to read only, and nobody writes: no file is made beside the database.
    """

    def __init__(self, directory: Path, max_bytes: Optional[int], *, at_rest: bool = False) -> None:
        self._path = directory / FILE_NAME
        self._max_pages = (max_bytes or 0) // PAGE_BYTES
        self._synchronous = ""
        if not self._path.exists():
            raise SpoolDamagedError(str(self._path), "is gone")
        with mapped(self._path):
            # Not rwc: a file that went away is an error and not an empty spool.
            mode = "rw" if max_bytes is not None else "ro&immutable=1" if at_rest else "ro"
            self._connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                timeout=_BUSY_S,
                check_same_thread=False,
            )
        try:
            if max_bytes is not None:
                with mapped(self._path):
                    self._set_up()
            self.last_id = self._last_id()
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self) -> None:
        execute = self._connection.execute
        if execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise sqlite3.DatabaseError("the journal mode was changed")
        execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        execute("PRAGMA cache_size = -1024")
        execute("PRAGMA cell_size_check = ON")
        execute(f"PRAGMA max_page_count = {self._max_pages}")

    def _last_id(self) -> int:
        with mapped(self._path):
            (last,) = self._connection.execute("SELECT max(id) FROM inspections").fetchone()
        return max(last or 0, self.marks().floor)

    def verify(self, floor: int) -> Tuple[Counter[str], Counter[str]]:
        """Read everything and check it, page by page and record by record.

        Returns:
            By lane: inspections whose ids are above `floor`, and the highest sequence number.

        Raises:
            SpoolDamagedError: something is not as it was written, or cannot be read.
        """
        try:
            with mapped(self._path):
                return self._verify(floor)
        except SpoolUnavailableError as error:
            if "I/O error" in error.reason:
                raise SpoolDamagedError(str(self._path), "cannot be read whole", error.reason) from error
            raise

    def _verify(self, floor: int) -> Tuple[Counter[str], Counter[str]]:
        execute = self._connection.execute
        identity = tuple(execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if identity != (_APPLICATION_ID, _SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"application and version are {identity}")
        found = execute("PRAGMA quick_check(1)").fetchone()
        if found != ("ok",):
            raise sqlite3.DatabaseError(found[0] if found else "no answer to quick_check")
        self.books()
        waiting: Counter[str] = Counter()
        sequences: Counter[str] = Counter()
        for row in execute("SELECT id, anomalous, record FROM inspections ORDER BY id"):
            record = self._checked(*row)
            if record.id > floor:
                waiting[record.lane] += 1
            sequences[record.lane] = max(sequences[record.lane], record.sequence)
        return waiting, sequences

    def marks(self) -> Marks:
        with mapped(self._path):
            rows = self._connection.execute("SELECT frame FROM books WHERE lane = ''").fetchall()
        if not rows:
            return Marks()
        marks = _decode(rows[0][0])
        if not isinstance(marks, Marks):
            raise SpoolDamagedError(str(self._path), "has wrong marks")
        return marks

    def books(self) -> List[Book]:
        with mapped(self._path):
            rows = self._connection.execute("SELECT lane, frame FROM books WHERE lane != ''").fetchall()
        books = []
        for lane, data in rows:
            book = _decode(data)
            if not isinstance(book, Book) or book.lane != lane:
                raise SpoolDamagedError(str(self._path), "has wrong books")
            books.append(book)
        return books

    @contextlib.contextmanager
    def transaction(self, *, durable: bool) -> Iterator[None]:
        """All or nothing; with `durable`, on the disk for good when it ends, with everything before it."""
        with mapped(self._path):
            # A log synced with each transaction, or with the next checkpoint or durable transaction.
            level = "FULL" if durable else "NORMAL"
            if level != self._synchronous:
                self._connection.execute(f"PRAGMA synchronous = {level}")
                self._synchronous = level
            self._connection.execute("BEGIN IMMEDIATE")
            last_id = self.last_id
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self.last_id = last_id
                # Some errors have rolled it back already.
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def delete_to(self, floor: int) -> None:
        self._connection.execute("DELETE FROM inspections WHERE id <= ?", (floor,))

    def delete(self, ids: Sequence[int]) -> None:
        self._connection.executemany("DELETE FROM inspections WHERE id = ?", [(number,) for number in ids])

    def insert(self, records: Iterable[Record]) -> None:
        """Records in ascending order of their ids, all above `last_id`."""
        for record in records:
            self._connection.execute(
                "INSERT INTO inspections VALUES (?, ?, ?)", (record.id, record.anomalous, record.encode())
            )
            self.last_id = record.id

    def write_state(self, marks: Marks, books: Iterable[Book]) -> None:
        rows = [("", marks.encode()), *((book.lane, book.encode()) for book in books)]
        self._connection.executemany("INSERT OR REPLACE INTO books VALUES (?, ?)", rows)

    def read(
        self, after: int, count: int, *, max_bytes: Optional[int] = None, normal_only: bool = False
    ) -> List[Record]:
        """The first `count` records whose ids are above `after`.

        With `max_bytes`, as long as their bodies, with a byte between two, fit; the first in any case. No more is read
        than that: a batch is made while parts are inspected.
        """
        which = "AND anomalous = 0" if normal_only else ""
        query = f"SELECT id, anomalous, record FROM inspections WHERE id > ? {which} ORDER BY id LIMIT ?"  # noqa: S608 - one of two constants
        records: List[Record] = []
        size = -1
        with mapped(self._path), contextlib.closing(self._connection.execute(query, (after, count))) as rows:
            for row in rows:
                record = self._checked(*row)
                size += 1 + len(record.body)
                if max_bytes is not None and records and size > max_bytes:
                    break
                records.append(record)
        return records

    def _checked(self, number: int, anomalous: Any, data: Any) -> Record:
        record = _decode(data)
        if not isinstance(record, Record) or (record.id, record.anomalous) != (number, anomalous):
            raise SpoolDamagedError(str(self._path), f"has a wrong record {number}")
        return record

    def has_room(self, sizes: Iterable[int]) -> bool:
        """Whether records of these sizes surely fit below the limit of the file."""
        pages, left = _SPARE_PAGES, 0
        for size in sizes:
            if size + _RECORD_OVERHEAD > left:
                pages, left = pages + 1, PAGE_BYTES - _PAGE_OVERHEAD
            left -= size + _RECORD_OVERHEAD
        return pages <= self._max_pages - self._pragma("page_count") + self._pragma("freelist_count")

    @property
    def used_bytes(self) -> int:
        """Of the file, without its free pages."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * PAGE_BYTES

    def checkpoint(self, *, how: str = "RESTART") -> int:
        """Move the log into the file, so that its space is used again; gives the pages that the log has.

        Args:
            how: PASSIVE waits for nobody, RESTART begins the log anew in its place, TRUNCATE gives its space back.
        """
        with mapped(self._path):
            _busy, pages, _moved = self._connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
        return max(0, int(pages))

    def shrink(self) -> None:
        """Give the pages of a file that ran empty back to the disk."""
        if self._pragma("page_count") < _SHRINK_PAGES:
            return
        with mapped(self._path):
            self._connection.execute("VACUUM")
        self.checkpoint(how="TRUNCATE")

    def close(self) -> None:
        """Any number of times; never raises."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _pragma(self, name: str) -> int:
        with mapped(self._path):
            (value,) = self._connection.execute(f"PRAGMA {name}").fetchone()
        return int(value)
