"""Everything readable in the bytes of a spool, whatever became of the database around it."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from array import array
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np

from edge_agent.spool.record import MAX_FRAME_BYTES, Book, Marks, Record, decode, scan
from edge_agent.spool.store import PAGE_BYTES, mapped

_BLOCK_BYTES = 4 * 1024 * 1024
_OVERLAP_BYTES = MAX_FRAME_BYTES + 64
# What a disk loses at once.
_SECTOR_BYTES = 4096

# SQLite's log: a header of 32 bytes, then frames of 24 bytes and a page (sqlite.org/fileformat2.html#walformat).
_LOG_HEADER = struct.Struct(">IIIIIIII")
_LOG_FRAME = struct.Struct(">IIII")
_LOG_FRAME_BYTES = 24 + PAGE_BYTES


class Salvage:
    """Reads files once, block by block, and notes where each record lies.

    Attributes:
        marks, books: the newest states found.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = [path for path in paths if path.exists()]
        self._ids, self._times, self._places = array("Q"), array("Q"), array("Q")
        self._sources = array("B")
        self.marks = Marks()
        self.books: Dict[str, Book] = {}
        for source, path in enumerate(self._paths):
            with mapped(path):
                self._read(source, path)

    def _read(self, source: int, path: Path) -> None:
        for base, block in _blocks(path):
            for offset, frame in scan(block):
                if offset >= _BLOCK_BYTES:
                    break  # the next block begins with it
                if isinstance(frame, Record):
                    self._ids.append(frame.id)
                    self._times.append(frame.stored_at_ns)
                    self._places.append(base + offset)
                    self._sources.append(source)
                elif isinstance(frame, Marks):
                    self.marks = self.marks.newest(frame)
                elif frame.version >= self.books.get(frame.lane, frame).version:
                    self.books[frame.lane] = frame

    def records(self) -> Iterator[Record]:
        """Those that wait for delivery by the marks, each once, in the order of their ids."""
        ids = np.frombuffer(self._ids, np.uint64)
        # Of two with one id, the later is the one that a transaction took; the other was lost before its end.
        order = np.lexsort((np.frombuffer(self._times, np.uint64), ids))
        last_of_id = np.append(ids[order][1:] != ids[order][:-1], [True])[: len(ids)]
        with contextlib.ExitStack() as stack:
            files: List[int] = []
            for path in self._paths:
                with mapped(path):
                    files.append(os.open(str(path), os.O_RDONLY))
                stack.callback(os.close, files[-1])
            for index in order[last_of_id]:
                source = self._sources[index]
                with mapped(self._paths[source]):
                    record = decode(_read_what_is_readable(files[source], self._places[index], _OVERLAP_BYTES))
                if isinstance(record, Record) and not self.marks.settled(record):
                    yield record


def log_lost_transactions(log: bytes, pages: int) -> bool:
    """Whether SQLite's log holds the end of a transaction behind the `pages` that SQLite takes from it.

    SQLite stops at the first page with a wrong checksum, and says nothing.
    """
    if len(log) < _LOG_HEADER.size + _LOG_FRAME_BYTES:
        return False
    *_fields, salt1, salt2, sum1, sum2 = _LOG_HEADER.unpack_from(log)
    if _log_checksum(log[:24]) != (sum1, sum2):
        # The header itself is wrong; what begins behind it says which pages belong together.
        _page, _commit, salt1, salt2 = _LOG_FRAME.unpack_from(log, _LOG_HEADER.size)
    for start in range(_LOG_HEADER.size + pages * _LOG_FRAME_BYTES, len(log) - _LOG_FRAME.size, _LOG_FRAME_BYTES):
        _page, commit, *salts = _LOG_FRAME.unpack_from(log, start)
        if commit and salts == [salt1, salt2]:
            return True
    return False


def _log_checksum(header: bytes) -> Tuple[int, int]:
    order = ">" if header[3] & 1 else "<"
    one = two = 0
    for first, second in struct.iter_unpack(f"{order}II", header):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _blocks(path: Path) -> Iterator[Tuple[int, bytes]]:
    """Offset and bytes, each block with the beginning of the next; zeros where the disk gives nothing."""
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        for base in range(0, os.fstat(descriptor).st_size, _BLOCK_BYTES):
            yield base, _read_what_is_readable(descriptor, base, _BLOCK_BYTES + _OVERLAP_BYTES)
    finally:
        os.close(descriptor)


def _read_what_is_readable(descriptor: int, offset: int, size: int) -> bytes:
    try:
        return os.pread(descriptor, size, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        if size <= _SECTOR_BYTES:
            return bytes(size)
    half = max(_SECTOR_BYTES, size // 2 // _SECTOR_BYTES * _SECTOR_BYTES)
    return _read_what_is_readable(descriptor, offset, half) + _read_what_is_readable(
        descriptor, offset + half, size - half
    )
