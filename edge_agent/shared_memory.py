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
from typing import List, Optional

import numpy as np

from edge_agent.errors import SharedMemoryError
from edge_agent.frame import CHANNELS, Pixels, Placement

_ROOT = Path("/dev/shm")  # noqa: S108 - the kernel's POSIX shared memory, not a temporary directory

# Segments of ours: the prefix, the creator's process id, and a random part.
_PREFIX = "edge-agent-"
_SWEEP_AGE_S = 10.0

# shm_open's portable names: one optional leading slash, then no further slash. The length is the kernel's NAME_MAX.
_NAME = re.compile(r"/?[^/\0]{1,255}")


class Segment:
    """A segment mapped into this process. Make one with `create_segment` or `attach_segment`."""

    def __init__(self, name: str, mapping: mmap.mmap, size: int, inode: int, lock: Optional[int] = None) -> None:
        self.name = name
        self.size = size
        self.inode = inode
        self._mapping = mapping
        # The descriptor that holds the creator's lock; None for a segment that another process made.
        self._lock = lock
        self._closed = False

    def pixels(self, offset: int, height: int, width: int) -> Pixels:
        """RGB888 view of the bytes at `offset`: shape (height, width, 3), uint8. Read-only where the mapping is."""
        count = height * width * CHANNELS
        check_range(self.name, offset, count, self.size)
        flat: Pixels = np.frombuffer(self._mapping, dtype=np.uint8, count=count, offset=offset)
        return flat.reshape(height, width, CHANNELS)

    def close(self) -> None:
        """Forget the mapping; the creator also unlinks the name. Views still alive keep the memory, not the name."""
        if self._closed:
            return
        self._closed = True
        if self._lock is not None:
            with contextlib.suppress(FileNotFoundError):
                _path(self.name).unlink()
            os.close(self._lock)
        # A view may still be alive: then the mapping goes when the last view does; the name is gone already.
        with contextlib.suppress(BufferError):
            self._mapping.close()


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
    return Segment(name, mapping, size, os.fstat(descriptor).st_ino, lock=descriptor)


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


def attach_segment(name: str, *, writable: bool = False) -> Segment:
    """Map a segment that another process made, under its shm_open name, with or without the leading slash.

    Raises:
        SharedMemoryError: no such name, not a plain segment, empty, or no permission.
    """
    if not _NAME.fullmatch(name) or name.lstrip("/") in (".", ".."):
        raise SharedMemoryError(repr(name), "is not a shared-memory name", "Use one part, like /camera-1.")
    # O_NOFOLLOW: a link in /dev/shm could lead to any file that this process may read.
    flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(_path(name), flags)
    except OSError as error:
        raise SharedMemoryError(name, f"cannot be opened ({error.strerror})", "Create the segment first.") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
            raise SharedMemoryError(name, "is not a shared-memory segment with bytes in it")
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        if writable:
            # As in create_segment: a hole without room behind it would kill the process that writes there.
            os.posix_fallocate(descriptor, 0, status.st_size)
        mapping = mmap.mmap(descriptor, status.st_size, access=access)
    except (OSError, ValueError) as error:
        raise SharedMemoryError(name, f"cannot be mapped ({error})") from error
    finally:
        os.close(descriptor)
    return Segment(name, mapping, status.st_size, status.st_ino)


def is_current(segment: Segment) -> bool:
    """Whether the segment's name still leads to the same memory of the same size."""
    try:
        status = _path(segment.name).lstat()
    except OSError:
        return False
    return (status.st_ino, status.st_size) == (segment.inode, segment.size)


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
