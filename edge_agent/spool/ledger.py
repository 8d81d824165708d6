"""The books of all lanes: what the spool took, delivered and expired, and which numbers it gave out.

Two books for each lane move together. `Accounting` is the run's, which the metrics show; `Book` is the spool's own
since it was made, and is written to disk in the same transaction as the inspections that it counts.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Dict, Iterable, List, Mapping, Set

from edge_agent.metrics import Accounting
from edge_agent.spool.record import Book, Marks

#: Sequence numbers are reserved on disk so many ahead, and are not used again after a kill: a run may leave so many out.
RESERVED_SEQUENCES = 1_000


@dataclass
class Change:
    """What one transaction, or one decision in memory, does to the books, by lane or by (lane, cause).

    Attributes:
        stored: inspections that the disk has now.
        evicted: that were on disk and expired.
        refused: that expired without having been on disk.
        unstored: that were delivered without having been on disk.
    """

    stored: Counter[str] = field(default_factory=Counter)
    evicted: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    unstored: Counter[str] = field(default_factory=Counter)

    def lanes(self) -> Set[str]:
        return {*self.stored, *self.unstored, *(lane for lane, _ in (*self.evicted, *self.refused))}

    def apply(self, books: Dict[str, Book]) -> None:
        for lane, count in self.stored.items():
            books[lane].inspected += count
        for lane, count in self.unstored.items():
            books[lane].inspected += count
            books[lane].delivered += count
        for (lane, cause), count in self.refused.items():
            books[lane].inspected += count
            books[lane].expired[cause] += count
        for (lane, cause), count in self.evicted.items():
            books[lane].expired[cause] += count


@dataclass(frozen=True)
class Reading:
    """What a transaction writes beside its inspections."""

    marks: Marks
    books: List[Book]


class Ledger:
    """Safe to use from any thread; it takes no other lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._books: Dict[str, Book] = {}
        self._accountings: Dict[str, Accounting] = {}
        self._next_sequence: Dict[str, int] = {}
        self._unwritten: Set[str] = set()
        self._written_floor = 0
        self._marks = Marks()

    def accounting(self, lane: str) -> Accounting:
        with self._lock:
            return self._accounting(lane)

    def accountings(self) -> Dict[str, Accounting]:
        with self._lock:
            return dict(self._accountings)

    def books(self) -> Dict[str, Book]:
        with self._lock:
            return {lane: book.copy() for lane, book in self._books.items()}

    def load(self, marks: Marks, books: Mapping[str, Book], waiting: Counter[str]) -> None:
        """What the disk holds, at the first opening; lanes may have been at work without it."""
        with self._lock:
            self._marks = marks
            self._written_floor = marks.floor
            for lane, book in books.items():
                mine = self._book(lane)
                if book.waiting:
                    # With what damage took: it was waiting when this run began.
                    self._accounting(lane).carry(book.waiting)
                mine.reserved = max(mine.reserved, book.reserved)
                mine.inspected += book.inspected
                mine.delivered += book.delivered
                mine.expired.update(book.expired)
                self._next_sequence[lane] = max(self._next_sequence[lane], mine.reserved + 1)
                # A recovery may know more than the database does.
                self._unwritten.add(lane)
            self._agree(waiting)

    def agree(self, waiting: Counter[str]) -> None:
        """Let the books follow what is really on disk, by lane: what is missing was damaged."""
        with self._lock:
            self._agree(waiting)

    def _agree(self, waiting: Counter[str]) -> None:
        for lane in {*self._books, *waiting}:
            book = self._book(lane)
            more = waiting[lane] - book.waiting
            if more > 0:
                book.inspected += more
                self._accounting(lane).carry(more)
            elif more < 0:
                book.expired["damaged"] -= more
                self._accounting(lane).expire("damaged", -more)
            if more:
                self._unwritten.add(lane)

    def next_sequence(self, lane: str) -> int:
        with self._lock:
            self._book(lane)
            number = self._next_sequence[lane]
            self._next_sequence[lane] = number + 1
            return number

    def reserved(self, lane: str) -> int:
        """Numbers up to it are never given out again, on the disk's word."""
        with self._lock:
            return self._book(lane).reserved

    def waiting(self) -> int:
        """Inspections on disk for delivery."""
        with self._lock:
            return sum(book.waiting for book in self._books.values())

    @property
    def marks(self) -> Marks:
        with self._lock:
            return self._marks

    def take(self, upto: int) -> None:
        """Inspections up to this id are out for delivery."""
        with self._lock:
            self._marks = replace(self._marks, taken=max(upto, self._marks.taken))

    def settle(self, upto: int, lanes: Iterable[str]) -> None:
        """Inspections up to this id were delivered: one for each name in `lanes`, the others expired before."""
        with self._lock:
            self._marks = replace(self._marks, floor=upto)
            for lane in lanes:
                self._book(lane).delivered += 1
                self._accounting(lane).deliver()
                self._unwritten.add(lane)

    def decide(self, change: Change) -> None:
        """Book what happened in memory alone."""
        with self._lock:
            self._apply(change)
            self._unwritten |= change.lanes()

    def unwritten(self) -> bool:
        """Whether the disk does not have the books yet."""
        with self._lock:
            return bool(self._unwritten) or self._marks.floor > self._written_floor or bool(self._short())

    def settled_on_disk(self) -> bool:
        with self._lock:
            return self._marks.floor == self._written_floor

    def short_of_sequences(self) -> bool:
        """Whether a durable transaction must reserve more soon."""
        with self._lock:
            return bool(self._short())

    def read(self, change: Change, marks: Marks, *, durable: bool, last: bool = False) -> Reading:
        """The books as they will be with `change`.

        Args:
            change: of the transaction.
            marks: with how far the policy has been in it.
            durable: of the transaction: numbers are reserved by such a one alone.
            last: nobody takes another number: give the reserved ones back.
        """
        with self._lock:
            short = self._short() if durable else set()
            lanes = self._unwritten | change.lanes() | short | (set(self._books) if last else set())
            now = replace(marks, version=self._marks.version + 1, floor=self._marks.floor, taken=self._marks.taken)
            copies = {lane: self._book(lane).copy() for lane in lanes}
            change.apply(copies)
            for lane, book in copies.items():
                book.version = now.version
                if last:
                    book.reserved = self._next_sequence[lane] - 1
                elif lane in short:
                    book.reserved = self._next_sequence[lane] + RESERVED_SEQUENCES
            self._unwritten -= lanes
            return Reading(now, list(copies.values()))

    def wrote(self, reading: Reading, change: Change) -> None:
        """The transaction is on disk."""
        with self._lock:
            self._apply(change)
            self._written_floor = reading.marks.floor
            self._marks = replace(reading.marks, floor=self._marks.floor, taken=self._marks.taken)
            for book in reading.books:
                self._books[book.lane].reserved = book.reserved

    def failed(self, reading: Reading) -> None:
        """The transaction never was."""
        with self._lock:
            self._unwritten |= {book.lane for book in reading.books}

    def _apply(self, change: Change) -> None:
        for lane in change.lanes():
            self._book(lane)
        change.apply(self._books)
        for (lane, cause), count in (*change.evicted.items(), *change.refused.items()):
            self._accounting(lane).expire(cause, count)
        for lane, count in change.unstored.items():
            self._accounting(lane).deliver(count)

    def _short(self) -> Set[str]:
        """Lanes that will soon have used what is reserved for them."""
        return {
            lane
            for lane, book in self._books.items()
            if book.reserved - self._next_sequence[lane] < RESERVED_SEQUENCES // 2
        }

    def _book(self, lane: str) -> Book:
        self._next_sequence.setdefault(lane, 1)
        return self._books.setdefault(lane, Book(lane))

    def _accounting(self, lane: str) -> Accounting:
        return self._accountings.setdefault(lane, Accounting())
