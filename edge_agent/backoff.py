"""Waiting longer after each failure, with jitter, up to a cap."""

from __future__ import annotations

import random


class Backoff:
    """Seconds to wait before the next try: `first`, doubling to `cap`, each between half and all of its value.

    Args:
        first: the first wait.
        cap: the longest.
        tries: waits of each length before the next doubling. With 8, a wait is about a sixth of all that was waited before.
    """

    def __init__(self, first: float = 0.2, cap: float = 30.0, tries: int = 1) -> None:
        self._first = first
        self._cap = cap
        self._tries = tries
        self._next = first
        self._left = tries
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    def next(self) -> float:
        seconds = self._next * self._random.uniform(0.5, 1.0)
        self._left -= 1
        if self._left == 0:
            self._next, self._left = min(self._cap, self._next * 2), self._tries
        return seconds

    def reset(self) -> None:
        self._next, self._left = self._first, self._tries
