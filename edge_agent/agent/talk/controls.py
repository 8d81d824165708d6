"""How an inspector is, and what it can be told to do: for the nucleus's topics and for the live page alike."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict

from edge_agent.agent.inspector import Inspector
from edge_agent.agent.talk.command_actions import Actions
from edge_agent.agent.talk.status import Status
from edge_agent.agent.talk.updates import UpdateHold
from edge_agent.clock import Clock


class Controls:
    """Safe to use from any thread.

    Args:
        inspector: what it is about.
        parts: more members of the status by name; who has another adds it.
        thing: the thing's name.
        clock: time.
        stop: of the inspector.
    """

    def __init__(
        self,
        inspector: Inspector,
        parts: Dict[str, Callable[[], Dict[str, Any]]],
        *,
        thing: str,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self.parts = parts
        self.thing = thing
        self.status = Status(inspector, thing, clock, parts)
        self.hold = UpdateHold(clock)
        self.actions = Actions(inspector, self.status, self.hold, clock, stop)

    def report(self) -> Dict[str, Any]:
        """The parts, read now."""
        return {name: part() for name, part in self.parts.items()}
