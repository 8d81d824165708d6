"""Messages that are triggers, from wherever they come: each is a part, and one that comes twice is one part."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter, OrderedDict
from typing import Any, Callable, Dict, Literal, NamedTuple, Optional, Tuple

from edge_agent.agent.talk.commands import ID, MAX_COMMAND_BYTES
from edge_agent.clock import Clock
from edge_agent.errors import ConfigError, TriggerError
from edge_agent.lane import Lane
from edge_agent.triggers import Trigger

_log = logging.getLogger(__name__)

# Ids of all lanes that are remembered: with QoS 1 a message may come twice, and a part is there once.
_REMEMBER = 4096


class Received(NamedTuple):
    """What became of a message, and the trigger's id."""

    outcome: Literal["fired", "missed", "repeated", "homeless"]
    id: str


class TriggerMessages:
    """Safe to use from any thread.

    Args:
        lane: the running lane of a name; raises ConfigError where there is none.
        clock: time.
    """

    def __init__(self, lane: Callable[[str], Lane], clock: Clock) -> None:
        self._lane = lane
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[Tuple[str, str], None] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def counts(self) -> Dict[str, int]:
        """How many: received = fired + missed + repeated + homeless; missed are in the lane's books, too."""
        with self._lock:
            return dict(self._counts)

    def receive(self, name: str, source: str, payload: bytes) -> Received:
        """A message for a lane; returns at once."""
        triggered_ns = self._clock.monotonic_ns()
        self._count("received")
        given = _id_in(payload)
        if given is not None and self._repeated(name, given):
            self._count("repeated")
            return Received("repeated", given)
        trigger = Trigger(source, triggered_ns) if given is None else Trigger(source, triggered_ns, given)
        try:
            fired = self._lane(name).trigger(trigger)
        except (ConfigError, TriggerError) as error:
            # The lane is just being built anew.
            self._count("homeless")
            self._forget(name, trigger.id)
            _log.warning("lane %s: trigger %s found no lane: %s", name, trigger.id, error, extra={"lane": name})
            return Received("homeless", trigger.id)
        if not fired:
            self._forget(name, trigger.id)
        self._count("fired" if fired else "missed")
        return Received("fired" if fired else "missed", trigger.id)

    def _forget(self, lane: str, trigger: str) -> None:
        """No part came of it, so that the same message may come again."""
        with self._lock:
            self._seen.pop((lane, trigger), None)

    def _repeated(self, lane: str, trigger: str) -> bool:
        with self._lock:
            if (lane, trigger) in self._seen:
                return True
            self._seen[lane, trigger] = None
            while len(self._seen) > _REMEMBER:
                self._seen.popitem(last=False)
            return False

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


def _id_in(payload: bytes) -> Optional[str]:
    """The `id` of a JSON object; None where there is none that can be used: the part is there all the same."""
    if not payload or len(payload) > MAX_COMMAND_BYTES:
        return None
    try:
        document: Any = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    found = document.get("id") if isinstance(document, dict) else None
    return found if isinstance(found, str) and ID.fullmatch(found) else None
