"""How fast and how large messages may be, so that the nucleus has no reason to refuse one."""

from __future__ import annotations

from edge_agent.clock import Clock
from edge_agent.inspection import MAX_MESSAGE_BYTES

# Each refusal doubles the time between messages, up to so much; each success takes a tenth of it back.
_SLOWEST = 32.0
_FASTER = 0.9
# So often in a row a large message fails and a small one right after it goes: then the size was the reason.
_STRIKES = 3


class Pace:
    """Time between messages: never less than the two rates ask for.

    Args:
        messages_per_s: at most so many.
        bytes_per_s: at most so many of them.
        clock: time.
    """

    def __init__(self, messages_per_s: float, bytes_per_s: float, clock: Clock) -> None:
        self._message_s = 1.0 / messages_per_s
        self._byte_s = 1.0 / bytes_per_s
        self._clock = clock
        self._slowness = 1.0
        self._next_ns = clock.monotonic_ns()

    def seconds_left(self) -> float:
        """Until the next message may go."""
        return max(0.0, (self._next_ns - self._clock.monotonic_ns()) / 1e9)

    def sent(self, size: int, at_ns: int) -> None:
        """A message of so many bytes went, and was handed over at `at_ns`."""
        self._slowness = max(1.0, self._slowness * _FASTER)
        seconds = self._slowness * max(self._message_s, size * self._byte_s)
        # From when it went, and not from when it was allowed: a wait must not be followed by a burst.
        self._next_ns = at_ns + int(seconds * 1e9)

    def refused(self) -> None:
        self._slowness = min(_SLOWEST, self._slowness * 2)


class MessageSize:
    """The largest message: as set, or the size that every nucleus takes where larger ones do not go.

    Nucleus lite answers a message that is too large by closing the connection, which an outage looks like, too.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._failed_large = False
        self._strikes = 0

    @property
    def now(self) -> int:
        return MAX_MESSAGE_BYTES if self._failed_large or self.given_up else self._largest

    @property
    def given_up(self) -> bool:
        """Whether larger messages are not tried any more."""
        return self._strikes >= _STRIKES

    def sent(self, size: int) -> None:
        if size > MAX_MESSAGE_BYTES:
            self._strikes = 0
        elif self._failed_large:
            self._strikes += 1
        self._failed_large = False

    def failed(self, size: int) -> None:
        self._failed_large = size > MAX_MESSAGE_BYTES
