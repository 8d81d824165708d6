"""Where triggers meet a lane: one may wait for its image; the next one is missed, counted and announced."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional

from edge_agent.triggers import Trigger


@dataclass(frozen=True)
class TriggerSnapshot:
    """received = pending + taken + missed(by cause), at every moment."""

    received: int
    pending: int
    taken: int
    missed: Dict[str, int]

    def balanced(self) -> bool:
        return self.received == self.pending + self.taken + sum(self.missed.values())

    def as_dict(self) -> Dict[str, Any]:
        return {
            "received": self.received,
            "pending": self.pending,
            "taken": self.taken,
            "missed": dict(self.missed),
            "balanced": self.balanced(),
        }


class TriggerGate:
    """Safe to use from any thread.

    Args:
        obstacle: why the lane cannot take one more part now, as a cause to count; None when it can.
    """

    def __init__(self, obstacle: Callable[[], Optional[str]]) -> None:
        self._obstacle = obstacle
        self._changed = threading.Condition()
        self._pending: Optional[Trigger] = None
        self._taken = 0
        self._missed: Counter[str] = Counter()
        self._listeners: List[Callable[[Trigger, str], None]] = []

    def listen(self, missed: Callable[[Trigger, str], None]) -> None:
        """Have `missed(trigger, cause)` called for each missed trigger, in the thread that brought it."""
        self._listeners.append(missed)

    def fire(self, trigger: Trigger) -> bool:
        """Ask for an image; false when the lane cannot give one now: the trigger is missed."""
        obstacle = self._obstacle()
        with self._changed:
            if self._pending is None and obstacle is None:
                self._pending = trigger
                self._changed.notify_all()
                return True
            cause = obstacle or "busy"
            self._missed[cause] += 1
        self._announce(trigger, cause)
        return False

    def wait(self, timeout: float) -> bool:
        """Whether a trigger is pending, now or within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._pending is not None, timeout)

    def peek(self) -> Optional[Trigger]:
        with self._changed:
            return self._pending

    def take(self) -> None:
        """The pending trigger has got its acquisition, good or bad."""
        with self._changed:
            if self._pending is not None:
                self._pending = None
                self._taken += 1

    def miss(self, cause: str) -> None:
        """The pending trigger will get no image."""
        with self._changed:
            trigger, self._pending = self._pending, None
            if trigger is None:
                return
            self._missed[cause] += 1
        self._announce(trigger, cause)

    def snapshot(self) -> TriggerSnapshot:
        with self._changed:
            pending = int(self._pending is not None)
            received = pending + self._taken + sum(self._missed.values())
            return TriggerSnapshot(received, pending, self._taken, dict(self._missed))

    def _announce(self, trigger: Trigger, cause: str) -> None:
        for listener in self._listeners:
            listener(trigger, cause)
