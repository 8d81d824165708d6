"""Opening a spool whatever state it is in.

The directory holds one generation, `generation-N/`, a complete database at any time. When it is damaged, everything
readable goes into the next one under a temporary name, which is renamed when it is whole; the damaged one is set
aside as `damaged-N/`. Each step is one rename, so a power cut between any two loses nothing. Where only SQLite's log
is damaged, what it still holds is added in place.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

from edge_agent.errors import SpoolDamagedError
from edge_agent.spool.record import Book, Marks, Record, scan
from edge_agent.spool.salvage import Salvage, log_lost_transactions
from edge_agent.spool.store import FILE_NAME, LOG_NAME, Store, create, mapped, sync_directory

_log = logging.getLogger(__name__)

# A second name of SQLite's log, which SQLite may delete while it opens or closes a database that it takes for empty.
_KEPT_LOG_NAME = "log-before-opening"
# What SQLite did not read to its end; the newest one.
_DAMAGED_LOG_NAME = "damaged-log"
_GENERATION, _DAMAGED, _UNFINISHED = "generation-", "damaged-", ".tmp"
# Set-aside generations; the oldest goes, since a disk that goes on damaging would fill itself.
_DAMAGED_KEPT = 3
_CHUNK = 1_000
_UNLIMITED = 1 << 40


@dataclass(frozen=True)
class Opened:
    """A verified database.

    Attributes:
        marks: its newest.
        books: by lane.
        waiting: inspections found for delivery, by lane; where the books say more, damage took them.
        damaged: what was set aside, if anything was damaged.
    """

    store: Store
    marks: Marks
    books: Dict[str, Book]
    waiting: Counter[str]
    damaged: Optional[Path]


def holds_spool(directory: Path) -> bool:
    """Whether there is a spool; also when it cannot be seen."""
    try:
        return bool(_numbered(directory, _GENERATION))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def newest_generation(directory: Path) -> Optional[Path]:
    """Where the database is; None where there is none."""
    with contextlib.suppress(OSError):
        generations = _numbered(directory, _GENERATION)
        return generations[-1][1] if generations else None
    return None


def set_aside_in(directory: Path) -> List[Path]:
    """Damaged generations, the newest last."""
    with contextlib.suppress(OSError):
        return [path for _, path in _numbered(directory, _DAMAGED)]
    return []


def files_of(generation: Path) -> List[Path]:
    """What may hold inspections, of any generation, set aside or not."""
    return [generation / name for name in (FILE_NAME, LOG_NAME, _KEPT_LOG_NAME)]


def open_spool(directory: Path, max_bytes: int, known: Marks = Marks()) -> Opened:  # noqa: B008 - immutable
    """Open the newest generation, made where there is none, recovered where it is damaged.

    Args:
        directory: the spool's, which exists.
        max_bytes: of the database file.
        known: marks of this run, where it had the spool open before; those on disk may be older.

    Raises:
        SpoolFullError, SpoolUnavailableError: of the disk; nothing was lost by trying.
    """
    with mapped(directory):
        if not _tidy(directory):
            _build(directory, 1 + max((number for number, _ in _numbered(directory, _DAMAGED)), default=0))
    aside: Optional[Path] = None
    while True:
        with mapped(directory):
            number, generation = _numbered(directory, _GENERATION)[-1]
        try:
            opened = _open_sound(generation, max_bytes, known)
        except SpoolDamagedError as error:
            aside = _recover(directory, number, error)
        else:
            return replace(opened, damaged=aside or opened.damaged)


def _tidy(directory: Path) -> bool:
    """Remove what was never finished and set aside what was recovered from, where that was cut short.

    Returns:
        Whether there is a generation.
    """
    for unfinished in directory.glob(f"{_GENERATION}*{_UNFINISHED}"):
        shutil.rmtree(unfinished)
    generations = _numbered(directory, _GENERATION)
    for number, _ in generations[:-1]:
        _set_aside(directory, number)
    return bool(generations)


def _open_sound(generation: Path, max_bytes: int, known: Marks) -> Opened:
    """Open and check; SpoolDamagedError when anything in the database is not as it was written."""
    log = _keep_log(generation)
    store = Store(generation, max_bytes)
    try:
        marks, books = store.marks(), {book.lane: book for book in store.books()}
        damaged: Optional[Path] = None
        if log and log_lost_transactions(log, store.checkpoint(how="PASSIVE")):
            marks = _newer_states(log, marks, books)
            damaged = generation / _DAMAGED_LOG_NAME
            with mapped(damaged):
                damaged.write_bytes(log)
            _log.error("spool: %s is damaged; it is kept as %s", generation / LOG_NAME, damaged)
        marks = marks.newest(known)
        # An id that was used before would be taken for an inspection that is settled.
        store.last_id = max(store.last_id, marks.highest())
        waiting, sequences = store.verify(marks.floor)
        for record in _behind_the_log(store, log, marks):
            waiting[record.lane] += 1
            sequences[record.lane] = max(sequences[record.lane], record.sequence)
        for lane, sequence in sequences.items():
            book = books.setdefault(lane, Book(lane))
            book.reserved = max(book.reserved, sequence)
        with mapped(generation), contextlib.suppress(FileNotFoundError):
            (generation / _KEPT_LOG_NAME).unlink()
    except BaseException:
        store.close()
        raise
    return Opened(store, marks, books, waiting, damaged)


def _keep_log(generation: Path) -> bytes:
    """Read the log that an unclean end left, and keep it from being deleted."""
    log, kept = generation / LOG_NAME, generation / _KEPT_LOG_NAME
    with mapped(log):
        if log.exists() and log.stat().st_size and not kept.exists():
            try:
                os.link(str(log), str(kept))
            except OSError:  # a file system without hard links
                shutil.copyfile(str(log), str(kept))
        return kept.read_bytes() if kept.exists() else b""


def _newer_states(log: bytes, marks: Marks, books: Dict[str, Book]) -> Marks:
    """Bring the books up to what a damaged log says, so that what is lost with it is counted; gives its marks."""
    for _, frame in scan(log):
        if isinstance(frame, Marks):
            marks = marks.newest(frame)
        elif isinstance(frame, Book) and frame.version > books.get(frame.lane, Book("")).version:
            books[frame.lane] = frame
    return marks


def _behind_the_log(store: Store, log: bytes, marks: Marks) -> List[Record]:
    """Take in whole inspections that the log holds, and SQLite does not take from it.

    They come after everything in the table. A transaction without an end, as a kill leaves it, gives some, too.
    """
    found: Dict[int, Record] = {}
    for _, frame in scan(log):
        if isinstance(frame, Record) and frame.id > store.last_id and not marks.settled(frame):
            found[frame.id] = frame
    records = [found[number] for number in sorted(found)]
    if records:
        _log.warning("spool: %d inspections found behind the end of the log", len(records))
        with store.transaction(durable=True):
            store.insert(records)
    return records


def _recover(directory: Path, number: int, error: SpoolDamagedError) -> Path:
    generation = directory / f"{_GENERATION}{number}"
    salvage = Salvage(files_of(generation))
    with mapped(directory):
        count = _build(directory, number + 1, salvage)
        aside = _set_aside(directory, number)
    _log.error("spool: %s; %d inspections recovered, the damaged file is kept in %s", error, count, aside)
    return aside


def _build(directory: Path, number: int, salvage: Optional[Salvage] = None) -> int:
    """Make a generation, of what was salvaged where something was, whole or not at all; the inspections in it."""
    final = directory / f"{_GENERATION}{number}"
    unfinished = directory / f"{_GENERATION}{number}{_UNFINISHED}"
    unfinished.mkdir(mode=0o700)
    create(unfinished)
    count = 0
    if salvage is not None:
        with contextlib.closing(Store(unfinished, _UNLIMITED)) as store:
            for chunk in _chunks(salvage.records()):
                count += len(chunk)
                with store.transaction(durable=False):
                    store.insert(chunk)
            with store.transaction(durable=True):
                store.write_state(salvage.marks, salvage.books.values())
            store.checkpoint(how="TRUNCATE")
    sync_directory(unfinished)
    unfinished.rename(final)
    sync_directory(directory)
    return count


def _chunks(records: Iterator[Record]) -> Iterator[List[Record]]:
    return iter(lambda: list(islice(records, _CHUNK)), [])


def _set_aside(directory: Path, number: int) -> Path:
    aside = directory / f"{_DAMAGED}{number}"
    (directory / f"{_GENERATION}{number}").rename(aside)
    sync_directory(directory)
    for _, oldest in _numbered(directory, _DAMAGED)[:-_DAMAGED_KEPT]:
        shutil.rmtree(oldest)
    return aside


def _numbered(directory: Path, prefix: str) -> List[Tuple[int, Path]]:
    """Directories `prefix`N, the highest N last."""
    found = []
    for path in directory.iterdir():
        digits = path.name[len(prefix) :] if path.name.startswith(prefix) else ""
        if digits.isdecimal():
            found.append((int(digits), path))
    return sorted(found)
