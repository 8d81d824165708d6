"""POSIX shared memory without a resource tracker.

`multiprocessing.shared_memory` unlinks a segment when any other process that attached to it exits, so segments here
are files in /dev/shm, mapped with `mmap`. The creator unlinks; whoever attaches never does.

The creator holds a lock on each of its segments, which the kernel takes away when the process dies, however it dies:
`sweep` unlinks what dead processes of ours left behind, also across containers that share /dev/shm.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import stat
import threading
import time
import uuid
from pathlib import Path
from typing import List, Optional, Set, Tuple

import numpy as np

from edge_agent.errors import SharedMemoryError
from edge_agent.frame import CHANNELS, Pixels, Placement

_ROOT = Path("/dev/shm")  # noqa: S108 - the kernel's POSIX shared memory, not a temporary directory

# Segments of ours: the prefix, the creator's process id, and a random part.
_PREFIX = "edge-agent-"
_SWEEP_AGE_S = 10.0

# Ranges of one segment that are known to have their memory: those of a client's ring, and a bound for the others.
_MAX_SOLID = 64

# shm_open's portable names: one optional leading slash, then no further slash. The length is the kernel's NAME_MAX.
_NAME = re.compile(r"/?[^/\0]{1,255}")


class Segment:
    """A segment mapped into this process. Make one with `create_segment` or `attach_segment`.

    A segment of another process may be larger than all memory: pages that nobody has written do not exist yet. Touching
    one makes it, and ends this process where there is no room for it, so bytes are asked for before they are touched:
    those to be written with `reserve`, those to be read with `has_holes`.
    """

    def __init__(self, name: str, mapping: mmap.mmap, status: os.stat_result, descriptor: int, *, owned: bool) -> None:
        self.name = name
        self.size = status.st_size
        self.inode = status.st_ino
        self._mapping = mapping
        # Of a segment that we made, it holds the creator's lock.
        self._descriptor = descriptor
        self._owned = owned
        self._blocks = status.st_blocks
        self._solid: Set[Tuple[int, int]] = set()
        self._closed = False

    def pixels(self, offset: int, height: int, width: int) -> Pixels:
        """RGB888 view of the bytes at `offset`: shape (height, width, 3), uint8. Read-only where the mapping is."""
        count = height * width * CHANNELS
        check_range(self.name, offset, count, self.size)
        flat: Pixels = np.frombuffer(self._mapping, dtype=np.uint8, count=count, offset=offset)
        return flat.reshape(height, width, CHANNELS)

    def copy(self, offset: int, height: int, width: int) -> Pixels:
        """As `pixels`, but a copy, which reads holes as zeros without filling them."""
        count = height * width * CHANNELS
        check_range(self.name, offset, count, self.size)
        flat: Pixels = np.zeros(count, dtype=np.uint8)
        os.preadv(self._descriptor, [flat.data], offset)
        return flat.reshape(height, width, CHANNELS)

    def reserve(self, offset: int, size: int) -> None:
        """Take memory for these bytes, and no others.

        Raises:
            SharedMemoryError: /dev/shm has no room for them.
        """
        check_range(self.name, offset, size, self.size)
        if (offset, size) in self._solid:
            return
        try:
            os.posix_fallocate(self._descriptor, offset, size)
        except OSError as error:
            raise SharedMemoryError(
                self.name, f"gets no {size} bytes of shared memory ({error.strerror})", "Free /dev/shm."
            ) from error
        self._remember_solid(offset, size)

    def has_holes(self, offset: int, size: int) -> bool:
        """Whether some of these bytes lie in pages that were never written."""
        check_range(self.name, offset, size, self.size)
        if (offset, size) in self._solid:
            return False
        holes = os.lseek(self._descriptor, offset, os.SEEK_HOLE) < offset + size
        if not holes:
            self._remember_solid(offset, size)
        return holes

    def is_current(self) -> bool:
        """Whether the name still leads to the same memory of the same size."""
        try:
            status = _path(self.name).lstat()
        except OSError:
            return False
        if status.st_blocks < self._blocks:
            # Cut off and grown again to the size it had, or holes punched: pages are gone, nobody says which.
            self._solid.clear()
        self._blocks = status.st_blocks
        return (status.st_ino, status.st_size) == (self.inode, self.size)

    def close(self) -> None:
        """Forget the mapping; the creator also unlinks the name. Views still alive keep the memory, not the name."""
        if self._closed:
            return
        self._closed = True
        if self._owned:
            with contextlib.suppress(FileNotFoundError):
                _path(self.name).unlink()
        os.close(self._descriptor)
        # A view may still be alive: then the mapping goes when the last view does; the name is gone already.
        with contextlib.suppress(BufferError):
            self._mapping.close()

    def _remember_solid(self, offset: int, size: int) -> None:
        if len(self._solid) >= _MAX_SOLID:
            self._solid.clear()
        self._solid.add((offset, size))
        self._blocks = os.fstat(self._descriptor).st_blocks


def create_segment(size: int, *, mode: int = 0o600) -> Segment:
    """A new segment of `size` bytes, zeroed, with a name nobody else has; its memory is taken at once.

    Raises:
        SharedMemoryError: /dev/shm refuses it, or has no room for it.
    """
    name = f"/{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:12]}"
    try:
        descriptor = os.open(_path(name), os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)
    except OSError as error:
        raise SharedMemoryError(name, f"cannot be created ({error.strerror})", "Check /dev/shm.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.fchmod(descriptor, mode)
        # Not ftruncate: a page that has no room would kill the process that first writes to it.
        os.posix_fallocate(descriptor, 0, size)
        mapping = mmap.mmap(descriptor, size)
    except (OSError, ValueError) as error:
        _path(name).unlink()
        os.close(descriptor)
        raise SharedMemoryError(name, f"gets no {size} bytes of shared memory ({error})", "Free /dev/shm.") from error
    return Segment(name, mapping, os.fstat(descriptor), descriptor, owned=True)


def sweep() -> List[str]:
    """Unlink segments whose creator is dead; their names."""
    swept = []
    for path in _ROOT.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            # A segment this young may not have its lock yet.
            if time.time() - path.stat().st_mtime < _SWEEP_AGE_S:
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                swept.append(path.name)
            finally:
                os.close(descriptor)
    return swept


def attach_segment(name: str, *, writable: bool = False, offset: int = 0, size: int = 0) -> Segment:
    """Map a segment that another process made.

    Args:
        name: its shm_open name, with or without the leading slash.
        writable: whether it shall be written to.
        offset: of the bytes that are wanted in it.
        size: of the bytes that are wanted in it; they are looked for before anything is mapped.

    Raises:
        SharedMemoryError: no such name, not a plain segment, empty, too short, or no permission.
    """
    if not _NAME.fullmatch(name) or name.lstrip("/") in (".", ".."):
        raise SharedMemoryError(repr(name), "is not a shared-memory name", "Use one part, like /camera-1.")
    # O_NOFOLLOW: a link in /dev/shm could lead to any file that this process may read.
    flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(_path(name), flags)
    except (OSError, UnicodeEncodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise SharedMemoryError(name, f"cannot be opened ({reason})", "Create the segment first.") from error
    try:
        return _map(name, descriptor, writable=writable, offset=offset, size=size)
    except BaseException:
        os.close(descriptor)
        raise


def _map(name: str, descriptor: int, *, writable: bool, offset: int, size: int) -> Segment:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        raise SharedMemoryError(name, "is not a shared-memory segment with bytes in it")
    check_range(name, offset, size, status.st_size)
    access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
    try:
        mapping = mmap.mmap(descriptor, status.st_size, access=access)
    except (OSError, ValueError, OverflowError) as error:
        raise SharedMemoryError(name, f"cannot be mapped ({error})") from error
    return Segment(name, mapping, status, descriptor, owned=False)


def check_range(name: str, offset: int, size: int, available: int) -> None:
    """Raise SharedMemoryError unless `offset`..`offset + size` lies inside `available` bytes."""
    if offset < 0 or size < 0 or offset > available or size > available - offset:
        raise SharedMemoryError(
            name, f"holds {available} bytes, not {size} at offset {offset}", "Correct the offset or the size."
        )


class Ring:
    """Slots for frames, given out and taken back; the bound on how many frames exist at once.

    Slots are made when first needed and made anew when a larger frame comes, so a ring follows its camera's size.
    """

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ValueError("a ring has at least one slot")
        self._free: List[Optional[Segment]] = [None] * slots
        self._available = threading.Condition()
        self._closed = False

    def acquire(self, timeout: Optional[float] = None) -> Optional[Slot]:
        """A slot, or None when all are out after `timeout` seconds (None: wait until there is one) or at close."""
        with self._available:
            if not self._available.wait_for(lambda: self._closed or bool(self._free), timeout) or self._closed:
                return None
            return Slot(self, self._free.pop())

    def close(self) -> None:
        """Unlink what is free now, and the rest as it comes back."""
        with self._available:
            self._closed = True
            free, self._free = self._free, []
            self._available.notify_all()
        for segment in free:
            if segment is not None:
                segment.close()

    def _give_back(self, segment: Optional[Segment]) -> None:
        with self._available:
            if not self._closed:
                self._free.append(segment)
                self._available.notify()
                return
        if segment is not None:
            segment.close()


class Slot:
    """One place in a ring, out on loan."""

    def __init__(self, ring: Ring, segment: Optional[Segment]) -> None:
        self._ring = ring
        self._segment = segment
        self._lock = threading.Lock()
        self._out = True

    def reserve(self, height: int, width: int) -> Pixels:
        """Writable RGB888 view of shape (height, width, 3) in this slot; grows the slot where it must."""
        size = height * width * CHANNELS
        if self._segment is None or self._segment.size < size:
            if self._segment is not None:
                self._segment.close()
                self._segment = None
            self._segment = create_segment(size)
        return self._segment.pixels(0, height, width)

    def placement(self, size: int) -> Placement:
        if self._segment is None:
            raise SharedMemoryError("slot", "has no pixels yet")
        return Placement(name=self._segment.name, offset=0, size=size)

    def release(self) -> None:
        """Give the slot back.

        Raises:
            SharedMemoryError: it was given back before.
        """
        with self._lock:
            if not self._out:
                raise SharedMemoryError("slot", "was given back twice")
            self._out = False
        self._ring._give_back(self._segment)  # noqa: SLF001 - a slot is part of its ring


def _path(name: str) -> Path:
    return _ROOT / name.lstrip("/")
