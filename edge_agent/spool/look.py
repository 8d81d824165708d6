"""Looking at a spool from outside: nothing is changed, whether it is in use, left behind or damaged."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from edge_agent.errors import SpoolDamagedError, SpoolError
from edge_agent.spool.disk import LOCK_NAME
from edge_agent.spool.record import Book, Record
from edge_agent.spool.recovery import files_of, newest_generation, set_aside_in
from edge_agent.spool.salvage import Salvage
from edge_agent.spool.store import FILE_NAME, LOG_NAME, Store, mapped

_AT_ONCE = 500


class Look:
    """One look.

    Args:
        directory: of a spool, or what was set aside of one.

    Attributes:
        damage: what is wrong with it; None where nothing was seen. A damaged one is read byte by byte.

    Raises:
        SpoolError: there is none, or it cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        generation = self._directory if (self._directory / FILE_NAME).exists() else newest_generation(self._directory)
        if generation is None:
            raise SpoolError(str(directory), "holds no spool", "Name the directory, or the inspector's configuration.")
        self._generation = generation
        self.damage: Optional[SpoolError] = None
        self._store: Optional[Store] = None
        self._salvage: Optional[Salvage] = None
        try:
            log = generation / LOG_NAME
            unfinished = log.exists() and log.stat().st_size > 0
            self._store = Store(generation, None, at_rest=not (self._in_use() or unfinished))
        except SpoolDamagedError as error:
            self._read_bytes(error)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def records(self) -> Iterator[Record]:
        """Every inspection that waits, in order; those that come or go meanwhile may be among them."""
        last = self._store.marks().floor if self._store is not None else 0
        while self._store is not None:
            try:
                chunk = self._store.read(last, _AT_ONCE)
            except SpoolDamagedError as error:
                self._read_bytes(error)
                break
            if not chunk:
                return
            last = chunk[-1].id
            yield from chunk
        if self._salvage is not None:
            yield from (record for record in self._salvage.records() if record.id > last)

    def status(self) -> Dict[str, Any]:
        """Figures, of JSON's types."""
        waiting: Counter[str] = Counter()
        oldest_ns: Optional[int] = None
        for record in self.records():
            waiting[record.lane] += 1
            oldest_ns = record.stored_at_ns if oldest_ns is None else oldest_ns
        books = self._books()
        lanes = {
            lane: {**books.get(lane, Book(lane)).as_dict(), "readable": waiting[lane]}
            for lane in sorted({*books, *waiting})
        }
        return {
            "directory": str(self._directory),
            "in_use": self._in_use(),
            "damage": str(self.damage) if self.damage else None,
            "inspections": sum(waiting.values()),
            "bytes": self._file_bytes(),
            "oldest_at_ns": oldest_ns,
            "lanes": lanes,
            "set_aside": [str(path) for path in set_aside_in(self._directory)],
        }

    def _books(self) -> Dict[str, Book]:
        if self._salvage is not None:
            return self._salvage.books
        assert self._store is not None  # noqa: S101 - one of the two is there
        return {book.lane: book for book in self._store.books()}

    def _read_bytes(self, error: SpoolError) -> None:
        self.damage = error
        if self._store is not None:
            self._store.close()
            self._store = None
        self._salvage = Salvage(files_of(self._generation))

    def _file_bytes(self) -> int:
        files: List[Path] = [path for path in files_of(self._generation) if path.exists()]
        return sum(path.stat().st_size for path in files)

    def _in_use(self) -> bool:
        lock = self._directory / LOCK_NAME
        if not lock.exists():
            return False
        with mapped(lock):
            descriptor = os.open(str(lock), os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
        return False
