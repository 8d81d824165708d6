"""A circuit breaker: what fails again and again is left alone for a while."""

from __future__ import annotations

from edge_agent.backoff import Backoff


class Breaker:
    """Closed, until `limit` calls in a row have failed; then open for a while, and longer after each failed try.

    Its caller holds a lock.

    Args:
        limit: failures in a row.
        backoff: how long it stays open.
    """

    def __init__(self, limit: int, backoff: Backoff) -> None:
        self._limit = limit
        self._backoff = backoff
        self._failures = 0
        self._until_ns = 0
        self.is_open = False
        self.opened_times = 0

    @property
    def until_ns(self) -> int:
        """When the next try is allowed, on the monotonic clock; in the past where it is closed."""
        return self._until_ns if self.is_open else 0

    def failed(self, now_ns: int) -> None:
        """One more call failed; the one try of an open breaker opens it again at once."""
        self._failures += 1
        if self._failures >= self._limit:
            self.opened_times += not self.is_open
            self.is_open = True
            self._until_ns = now_ns + round(self._backoff.next() * 1e9)

    def connected(self) -> None:
        """The try of an open breaker went well so far: let calls through; the first one that fails opens it again."""
        if self.is_open:
            self.is_open = False
            self._failures = self._limit - 1

    def worked(self) -> None:
        """A call went well."""
        self.is_open = False
        self._failures = 0
        self._backoff.reset()
