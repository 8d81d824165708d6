"""What an output has to do, by its time, and which parts it waits to hear of."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from typing import List, Optional, Tuple

from edge_agent.outputs.base import Action, Part

# Parts whose verdict did not come in time are remembered, so that it is not acted on when it comes.
_REMEMBER = 1024

Key = Tuple[str, Optional[int]]


class Schedule:
    """Its caller holds a lock.

    Args:
        size: actions that may wait; as many parts may be expected, and 1,024 more.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._actions: List[Tuple[int, int, Action]] = []
        self._deadlines: List[Tuple[int, int, Key]] = []
        self._expected: OrderedDict[Key, Part] = OrderedDict()
        self._overdue: OrderedDict[Key, None] = OrderedDict()
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._actions)

    def full(self) -> bool:
        return len(self._actions) >= self._size

    def put(self, action: Action) -> None:
        heapq.heappush(self._actions, (action.due_ns, next(self._numbers), action))

    def first(self, now_ns: int) -> Optional[Action]:
        """The action that has been due longest; it stays here."""
        return self._actions[0][2] if self._actions and self._actions[0][0] <= now_ns else None

    def remove_first(self) -> None:
        heapq.heappop(self._actions)

    def clear(self) -> int:
        """Forget the actions; how many there were."""
        count = len(self._actions)
        self._actions.clear()
        return count

    def expect(self, part: Part, by_ns: int) -> bool:
        """A verdict on this part is to be here by then; false where there are too many: it counts as overdue."""
        key = (part.lane, part.sequence)
        if len(self._expected) >= self._size + _REMEMBER:
            self._remember(key)
            return False
        self._expected[key] = part
        heapq.heappush(self._deadlines, (by_ns, next(self._numbers), key))
        return True

    def settle(self, part: Part) -> bool:
        """What became of a part is known; false where its time had passed, and it was acted on."""
        key = (part.lane, part.sequence)
        if key in self._overdue:
            del self._overdue[key]
            return False
        self._expected.pop(key, None)
        return True

    def overdue(self, now_ns: int) -> Optional[Part]:
        """A part whose time has passed without a verdict; each once."""
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            key = heapq.heappop(self._deadlines)[2]
            part = self._expected.pop(key, None)
            if part is not None:
                self._remember(key)
                return part
        return None

    def _remember(self, key: Key) -> None:
        self._overdue[key] = None
        if len(self._overdue) > _REMEMBER:
            self._overdue.popitem(last=False)

    def next_ns(self) -> Optional[int]:
        """When something is due next."""
        while self._deadlines and self._deadlines[0][2] not in self._expected:
            heapq.heappop(self._deadlines)
        heads = [heap[0][0] for heap in (self._actions, self._deadlines) if heap]
        return min(heads) if heads else None
