"""The spool: every inspection is on disk before it is offered to the nucleus.

`put` hands an inspection over and returns at once; a thread writes what has come from all lanes in one transaction
(group commit). `take` gives the oldest that wait, in the order in which they came, with a receipt that is settled once.

While the disk takes nothing (full, read-only, gone), inspections wait in memory, and are offered from there when
nothing older lies on disk. They are on disk as soon as it takes them again.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional

from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.errors import SpoolError, SpoolFullError
from edge_agent.metrics import Accounting
from edge_agent.outage import Outage
from edge_agent.spool.disk import Disk
from edge_agent.spool.ledger import Change, Ledger
from edge_agent.spool.pending import MEMORY_BYTES, Entry, Pending, Waiting
from edge_agent.spool.receipt import Receipt
from edge_agent.spool.record import MAX_BODY_BYTES, Record
from edge_agent.spool.room import DISK_FULL
from edge_agent.spool.settings import SpoolSettings

_log = logging.getLogger(__name__)

#: The disk refuses for another reason than being full, or is too slow.
DISK_FAILED = "disk_failed"
#: The run ended while the disk took nothing.
LOST_AT_EXIT = "lost_at_exit"

_GROUP = 1_000
_RETRY_CAP_S = 5.0
# How long a delivery, or a first number, waits to be noted on disk; longer than a sound disk takes for two commits.
_SETTLE_S = 2.0
_LOOK_S = 0.2


class Spool:
    """Used by any number of lanes and one publisher.

    Args:
        directory: where it lies; made where it is missing.
        settings: limits, policy, sync.
        clock: time.
        memory_bytes: what may wait in memory while the disk takes nothing.
    """

    def __init__(
        self, directory: Path, settings: SpoolSettings, clock: Clock, *, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self.directory = directory.absolute()
        self._clock = clock
        self._ledger = Ledger()
        self._disk = Disk(self.directory, settings, self._ledger, clock)
        self._changed = threading.Condition()
        self._pending = Pending(settings.policy, memory_bytes)
        self._numbers = itertools.count(1)
        # A receipt is out, and what is in it was in memory alone.
        self._is_out = self._is_out_from_memory = False
        self._trouble: Optional[SpoolError] = None
        self._outage = Outage(_log, "spool")
        self._closing = threading.Event()
        self._faulty = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

    def start(self) -> None:
        """Open the spool and begin to write. A disk that cannot be used is logged and tried again."""
        try:
            self._disk.open()
        except SpoolError as error:
            self._in_trouble(error)
        waiting = self._ledger.waiting()
        if waiting:
            _log.info("spool: %d inspections of earlier runs wait for delivery", waiting)
        self._thread.start()

    def trouble(self) -> Optional[SpoolError]:
        """Why the disk takes nothing now; None while it does."""
        return self._trouble

    def faulty(self) -> bool:
        """Whether a fault of ours stopped it; the log has the traceback."""
        return self._faulty.is_set()

    def accounting(self, lane: str) -> Accounting:
        """The books of this run of a lane."""
        return self._ledger.accounting(lane)

    def accountings(self) -> Dict[str, Accounting]:
        """By lane, with lanes of earlier runs whose inspections waited here."""
        return self._ledger.accountings()

    def next_sequence(self, lane: str) -> int:
        """A number that no frame of this lane ever had, also in an earlier run: one more than the last.

        After a kill or a power cut it jumps by up to 1,000: numbers are reserved on disk before they are used. Only the
        first one of a run waits for that; while the disk takes nothing, none does.
        """
        number = self._ledger.next_sequence(lane)
        if self._ledger.short_of_sequences():
            with self._changed:
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_reserved(lane, number), _SETTLE_S)
        return number

    def put(self, entry: Entry) -> None:
        """Hand over an inspection that the lane's accounting has counted. Never waits for the disk."""
        if len(entry.body) > MAX_BODY_BYTES:
            raise ValueError(f"an inspection of {len(entry.body)} bytes; {MAX_BODY_BYTES} is the most")
        with self._changed:
            expired = self._pending.add(Waiting(next(self._numbers), self._clock.wall_ns(), entry))
            self._expire(expired)
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until everything that was put before is safe as `sync` promises, or expired; whether it is."""
        with self._changed:
            upto = next(self._numbers)
            return self._changed.wait_for(lambda: not self._unwritten(upto), timeout)

    def take(self, max_bytes: int, max_count: int, timeout: float) -> Optional[Receipt]:
        """The oldest inspections, at least one: as many as fit, each with one byte for what separates them.

        Returns:
            None when there was none within `timeout` seconds.
        """
        deadline_ns = self._clock.monotonic_ns() + int(timeout * 1e9)
        while True:
            left = (deadline_ns - self._clock.monotonic_ns()) / 1e9
            with self._changed:
                if self._is_out:
                    raise RuntimeError("the receipt before was not settled")
                if not self._changed.wait_for(self._offers, max(0.0, left)):
                    return None
            receipt = self._from_disk(max_bytes, max_count) or self._from_memory(max_bytes, max_count)
            if receipt is not None or left <= 0:
                return receipt
            self._clock.sleep(min(_LOOK_S, left))

    def status(self) -> Dict[str, Any]:
        """What waits: for the run's report."""
        try:
            oldest, used = self._disk.oldest(), self._disk.used_bytes()
        except SpoolError:
            oldest, used = None, 0
        return {
            "directory": str(self.directory),
            "on_disk": self._ledger.waiting(),
            "in_memory": self.in_memory(),
            "bytes": used,
            "oldest_s": round((self._clock.wall_ns() - oldest.stored_at_ns) / 1e9, 1) if oldest else None,
            "recovered_files": self._disk.recoveries,
            "trouble": str(self._trouble) if self._trouble else None,
        }

    def in_memory(self) -> int:
        """Inspections that the disk does not have yet."""
        with self._changed:
            return len(self._pending)

    def close(self, timeout: float) -> None:
        """Write what is left and let go of the files; what the disk does not take in time is lost, and counted."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        with self._changed:
            self._expire(self._pending.clear(), LOST_AT_EXIT)
            self._changed.notify_all()
        if not self._thread.is_alive():
            self._disk.close()

    def _run(self) -> None:
        try:
            self._write_until_closed()
        except Exception:  # noqa: BLE001 - a spool that died unseen would lose every inspection from then on
            _log.exception("spool: stopped by an internal error")
            self._faulty.set()
            with self._changed:
                self._changed.notify_all()

    def _write_until_closed(self) -> None:
        backoff = Backoff(cap=_RETRY_CAP_S)
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, self._disk.seconds_to_sync())
                # What is out from memory comes before what is still there, which waits for the receipt.
                writable = 0 if self._is_out_from_memory else _GROUP
                if self._closing.is_set() and not (writable and self._pending):
                    return
                batch = self._pending.batch(writable)
            try:
                self._disk.write(batch)
            except SpoolError as error:
                with self._changed:
                    self._pending.not_written()
                self._in_trouble(error)
                if self._closing.is_set():
                    return
                self._clock.wait(self._closing, backoff.next())
            else:
                with self._changed:
                    self._pending.written()
                    self._trouble = None
                    self._changed.notify_all()
                for item in batch:
                    item.entry.safe()
                self._outage.over()
                backoff.reset()

    def _in_trouble(self, error: SpoolError) -> None:
        with self._changed:
            self._trouble = error
            self._changed.notify_all()
        self._outage.report(error)

    def _is_reserved(self, lane: str, number: int) -> bool:
        return self._ledger.reserved(lane) >= number or self._writes_nothing()

    def _writes_nothing(self) -> bool:
        return self._trouble is not None or self._closing.is_set() or self._faulty.is_set()

    def _has_work(self) -> bool:
        return (
            self._closing.is_set()
            or (len(self._pending) > 0 and not self._is_out_from_memory)
            or self._trouble is not None
            or self._ledger.unwritten()
        )

    def _offers(self) -> bool:
        return self._ledger.waiting() > 0 or self._offers_from_memory()

    def _offers_from_memory(self) -> bool:
        return self._trouble is not None and len(self._pending) > 0 and not self._pending.committing

    def _unwritten(self, upto: int) -> bool:
        return len(self._pending) > 0 and self._pending.first_number() < upto

    def _from_disk(self, max_bytes: int, max_count: int) -> Optional[Receipt]:
        if self._ledger.waiting() == 0:
            return None
        try:
            records = self._disk.read(max_bytes, max_count)
        except SpoolError as error:
            # The thread that writes opens it again.
            self._in_trouble(error)
            return None
        if not records:
            return None
        self._is_out = True
        bodies = [record.body for record in records]
        return Receipt(bodies, lambda: self._delivered_from_disk(records), self._settled)

    def _from_memory(self, max_bytes: int, max_count: int) -> Optional[Receipt]:
        if self._disk.may_hold_older():
            return None
        with self._changed:
            if self._ledger.waiting() > 0 or not self._offers_from_memory():
                return None
            items = self._pending.take(max_bytes, max_count)
            self._is_out = self._is_out_from_memory = True
        bodies = [item.entry.body for item in items]
        return Receipt(bodies, lambda: self._delivered_from_memory(items), lambda: self._kept_in_memory(items))

    def _delivered_from_disk(self, records: List[Record]) -> None:
        self._ledger.settle(records[-1].id, [record.lane for record in records])
        with self._changed:
            self._settled()
            self._changed.wait_for(lambda: self._ledger.settled_on_disk() or self._writes_nothing(), _SETTLE_S)

    def _delivered_from_memory(self, items: List[Waiting]) -> None:
        self._ledger.decide(Change(unstored=Counter(item.entry.lane for item in items)))
        for item in items:
            item.entry.safe()
        self._settled()

    def _kept_in_memory(self, items: List[Waiting]) -> None:
        with self._changed:
            self._expire(self._pending.put_back(items))
            self._settled()

    def _settled(self) -> None:
        with self._changed:
            self._is_out = self._is_out_from_memory = False
            self._changed.notify_all()

    def _expire(self, items: List[Waiting], cause: Optional[str] = None) -> None:
        if items:
            cause = cause or (DISK_FULL if isinstance(self._trouble, SpoolFullError) else DISK_FAILED)
            self._ledger.decide(Change(refused=Counter((item.entry.lane, cause) for item in items)))
