"""Threads for the parallel loops of compiled code, and the scratch memory it asks for."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from edge_agent.model.neo.memory import ALIGNMENT, aligned

# Runs of a loop on one thread, and as many on all, before one way is chosen. The load and the warm-up are the first four.
_TRIES = 4
_NEVER_NS = 2**63

_Job = Tuple[Callable[[int], int], range]


class ThreadPool:
    """Runs the tasks of one loop at a time on as many threads as it was given; the caller's is one of them."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._busy = threading.Lock()
        self._done: SimpleQueue[int] = SimpleQueue()
        self._jobs: List[SimpleQueue[_Job]] = [SimpleQueue() for _ in range(threads - 1)]
        for number, jobs in enumerate(self._jobs):
            threading.Thread(target=self._work, args=(jobs,), name=f"operator {number + 1}", daemon=True).start()

    def run(self, task: Callable[[int], int], count: int) -> int:
        """Call `task` with 0 to count - 1, each once; the first status that is not 0, else 0."""
        helpers = min(len(self._jobs), count - 1)
        # A loop inside a loop finds the threads taken and runs where it is.
        if helpers < 1 or not self._busy.acquire(blocking=False):
            return _run_all(task, range(count))
        try:
            for index, jobs in enumerate(self._jobs[:helpers]):
                jobs.put((task, range(index + 1, count, helpers + 1)))
            statuses = [_run_all(task, range(0, count, helpers + 1))]
            statuses += [self._done.get() for _ in range(helpers)]
        finally:
            self._busy.release()
        return next((status for status in statuses if status), 0)

    def _work(self, jobs: SimpleQueue[_Job]) -> None:
        while True:
            task, numbers = jobs.get()
            self._done.put(_run_all(task, numbers))


class Race:
    """Whether to share a loop out: both ways are tried in turn, and from then on the quicker one is taken.

    Sharing out costs about as much as a small loop takes, and how much that is depends on the machine.
    """

    def __init__(self) -> None:
        self._left = 2 * _TRIES
        self._best_ns = {False: _NEVER_NS, True: _NEVER_NS}
        self._winner = False

    def shared(self) -> bool:
        """Whether it is to be shared out this time."""
        return self._winner if self._left <= 0 else self._left % 2 == 1

    def took(self, nanoseconds: int, *, shared: bool) -> None:
        """How long it took that time."""
        if self._left <= 0:
            return
        self._best_ns[shared] = min(self._best_ns[shared], nanoseconds)
        self._left -= 1
        self._winner = self._best_ns[True] < self._best_ns[False]


class Workspaces:
    """Aligned scratch memory; what is given back is kept for the next call, since a model asks for the same sizes."""

    def __init__(self) -> None:
        self._free: Dict[int, List[Tuple[int, Any]]] = {}
        self._used: Dict[int, Tuple[int, Any]] = {}
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> Optional[int]:
        """Address of at least `nbytes` bytes, or None where there is no memory."""
        with self._lock:
            kept = self._free.get(nbytes)
            if kept:
                address, block = kept.pop()
            else:
                try:
                    block = np.empty(nbytes + ALIGNMENT, dtype=np.uint8)
                except (MemoryError, ValueError):
                    return None
                address = aligned(block.ctypes.data)
            self._used[address] = (nbytes, block)
        return address

    def give_back(self, address: int) -> bool:
        with self._lock:
            found = self._used.pop(address, None)
            if found is None:
                return False
            self._free.setdefault(found[0], []).append((address, found[1]))
        return True


def aligned_zeros(nbytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Zeroed bytes at an aligned address."""
    block = np.zeros(nbytes + ALIGNMENT, dtype=np.uint8)
    start = aligned(block.ctypes.data) - block.ctypes.data
    return block[start : start + nbytes]


def _run_all(task: Callable[[int], int], numbers: range) -> int:
    for number in numbers:
        status = task(number)
        if status:
            return status
    return 0
