"""Waiting longer after each failure, with jitter, up to a cap."""

from __future__ import annotations

import random


class Backoff:
    """Seconds to wait before the next try: `first`, doubling to `cap`, each between half and all of its value."""

    def __init__(self, first: float = 0.2, cap: float = 30.0) -> None:
        self._first = first
        self._cap = cap
        self._next = first
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    def next(self) -> float:
        seconds = self._next * self._random.uniform(0.5, 1.0)
        self._next = min(self._cap, self._next * 2)
        return seconds

    def reset(self) -> None:
        self._next = self._first
