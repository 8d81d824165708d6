"""The spool's disk side: opens, writes in groups, reads, and comes back after trouble."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
from pathlib import Path
from typing import Callable, List, Optional

from edge_agent.clock import Clock
from edge_agent.errors import SpoolDamagedError, SpoolError, SpoolFullError, SpoolInUseError, SpoolUnavailableError
from edge_agent.spool.ledger import Change, Ledger, Reading
from edge_agent.spool.pending import Waiting
from edge_agent.spool.record import Marks, Record, frame_size
from edge_agent.spool.recovery import holds_spool, open_spool
from edge_agent.spool.room import evict_bytes, make_room
from edge_agent.spool.settings import SpoolSettings
from edge_agent.spool.store import Store, make_directory, mapped

_log = logging.getLogger(__name__)

LOCK_NAME = "lock"

# Done inside a transaction: notes what it does in the change, gives the marks with how far a policy went.
_Work = Callable[[Store, Marks, Change], Marks]


class Disk:
    """Safe to use from any thread: one at a time is at the database.

    Args:
        directory: of the spool, absolute.
        settings: its limits.
        ledger: kept in step with what is on disk.
        clock: time.
    """

    def __init__(self, directory: Path, settings: SpoolSettings, ledger: Ledger, clock: Clock) -> None:
        self._directory = directory
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._store: Optional[Store] = None
        self._lock_file: Optional[int] = None
        self._loaded = False
        self._unsynced_since_ns: Optional[int] = None
        self.recoveries = 0

    def may_hold_older(self) -> bool:
        """Whether inspections may lie there that cannot be read now, older than any in memory."""
        if self._store is not None:
            return False
        return self._ledger.waiting() > 0 if self._loaded else holds_spool(self._directory)

    def seconds_to_sync(self) -> Optional[float]:
        """Until the window of `interval` ends; None while nothing waits for it."""
        since = self._unsynced_since_ns
        if since is None:
            return None
        return max(0.0, self._settings.interval_s - (self._clock.monotonic_ns() - since) / 1e9)

    def open(self) -> None:
        """Open the spool, recovering what it holds; harmless when it is open.

        Raises:
            SpoolUnavailableError, SpoolFullError: not now.
        """
        with self._lock:
            self._open()

    def write(self, batch: List[Waiting]) -> None:
        """Put a group on disk and bring the books there up to date, in one transaction.

        Raises:
            SpoolError: nothing was written; worth another try later.
        """
        with self._lock:
            self._open()
            try:
                self._write_somehow(batch)
            except SpoolError as error:
                self._close_if_broken(error)
                raise

    def read(self, max_bytes: int, max_count: int) -> List[Record]:
        """The oldest inspections that wait, now out for delivery: at least one where there is any.

        Raises:
            SpoolError: not now.
        """
        with self._lock:
            if self._store is None:
                raise SpoolUnavailableError(str(self._directory), "is not open")
            try:
                records = self._store.read(self._ledger.marks.floor, max_count, max_bytes=max_bytes)
                if not records and self._ledger.waiting() > 0:
                    raise SpoolDamagedError(str(self._directory), "holds less than its books say")
            except SpoolError as error:
                self._close_if_broken(error)
                raise
            if records:
                self._ledger.take(records[-1].id)
            return records

    def oldest(self) -> Optional[Record]:
        """The oldest inspection that waits."""
        with self._lock:
            records = self._store.read(self._ledger.marks.floor, 1) if self._store is not None else []
            return records[0] if records else None

    def used_bytes(self) -> int:
        with self._lock:
            return self._store.used_bytes if self._store is not None else 0

    def close(self) -> None:
        """Write the books a last time, exactly, and let go of the files. Never raises."""
        with self._lock:
            if self._store is not None:
                try:
                    self._transact(self._insert([]), durable=True, last=True)
                except SpoolError as error:
                    _log.warning("spool: closed without its last numbers: %s", error)
            self._let_go()

    def _open(self) -> None:
        if self._store is not None:
            return
        with mapped(self._directory):
            make_directory(self._directory)
        self._take_lock()
        try:
            opened = open_spool(self._directory, self._settings.bytes, self._ledger.marks)
        except BaseException:
            self._let_go()
            raise
        self._store = opened.store
        if self._loaded:
            self._ledger.agree(opened.waiting)
        else:
            self._ledger.load(opened.marks, opened.books, opened.waiting)
        self._loaded = True
        if opened.damaged is not None:
            self.recoveries += 1

    def _take_lock(self) -> None:
        path = self._directory / LOCK_NAME
        with mapped(path):
            if self._lock_file is None:
                self._lock_file = os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                remedy = "Stop the other one, or give each a spool.path of its own."
                raise SpoolInUseError(str(self._directory), "is in use by another process", remedy) from error

    def _let_go(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _close_if_broken(self, error: SpoolError) -> None:
        """Trust nothing of a file after an error that is its own; it is opened again, and checked, by the next write."""
        if isinstance(error, SpoolDamagedError) or "I/O error" in error.reason:
            self._let_go()

    def _write_somehow(self, batch: List[Waiting]) -> None:
        assert self._store is not None  # noqa: S101 - `write` opened it
        durable = self._is_due(batch) or self._ledger.short_of_sequences()
        try:
            self._transact(self._insert(batch), durable=durable)
        except SpoolFullError:
            self._recycle_log()
            try:
                self._transact(self._insert(batch), durable=durable)
            except SpoolFullError:
                # Pages that the policy frees in the file need no room on the disk.
                self._transact(self._evict_for(batch), durable=False)
                self._recycle_log()
                self._transact(self._insert(batch), durable=durable)
        if batch and not durable and self._unsynced_since_ns is None:
            self._unsynced_since_ns = self._clock.monotonic_ns()
        if self._ledger.waiting() == 0:
            with contextlib.suppress(SpoolError):
                self._store.shrink()

    def _recycle_log(self) -> None:
        """Move what is in the log to the file, whose pages may be there already: the log's own space is free then."""
        assert self._store is not None  # noqa: S101 - `write` opened it
        with contextlib.suppress(SpoolFullError):
            self._store.checkpoint()

    def _is_due(self, batch: List[Waiting]) -> bool:
        if self._settings.sync == "always":
            return bool(batch)
        return self.seconds_to_sync() == 0.0

    def _transact(self, work: _Work, *, durable: bool, last: bool = False) -> None:
        """One transaction: what is settled goes, `work` is done, and the books are written with it."""
        store, ledger, change = self._store, self._ledger, Change()
        assert store is not None  # noqa: S101 - the callers opened it
        reading: Optional[Reading] = None
        try:
            with store.transaction(durable=durable):
                marks = ledger.marks
                store.delete_to(marks.floor)
                marks = work(store, marks, change)
                reading = ledger.read(change, marks, durable=durable, last=last)
                store.write_state(reading.marks, reading.books)
        except BaseException:
            if reading is not None:
                ledger.failed(reading)
            raise
        ledger.wrote(reading, change)
        if durable:
            self._unsynced_since_ns = None

    def _insert(self, batch: List[Waiting]) -> _Work:
        def work(store: Store, marks: Marks, change: Change) -> Marks:
            fitting, marks = make_room(store, self._settings.policy, batch, marks, change)
            store.insert(_numbered(fitting, store.last_id))
            change.stored.update(item.entry.lane for item in fitting)
            return marks

        return work

    def _evict_for(self, batch: List[Waiting]) -> _Work:
        size = sum(frame_size(item.entry.lane, item.entry.body) for item in batch)
        return lambda store, marks, change: evict_bytes(store, self._settings.policy, size, marks, change)


def _numbered(items: List[Waiting], last_id: int) -> List[Record]:
    return [
        Record(number, item.came_at_ns, item.entry.lane, item.entry.sequence, item.entry.anomalous, item.entry.body)
        for number, item in enumerate(items, last_id + 1)
    ]
