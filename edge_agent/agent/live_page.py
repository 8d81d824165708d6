"""What the live page shows and does, as one inspector has it."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional

from edge_agent.agent.inspector import Inspector
from edge_agent.agent.talk.command_desk import attempt
from edge_agent.agent.talk.commands import CommandError, command_name, parse, reply, request_id
from edge_agent.agent.talk.controls import Controls
from edge_agent.clock import Clock


class InspectorOnPage:
    """A PageSource. Commands of people at the page are done at once, each on the thread of its request.

    Args:
        inspector: what it is about.
        controls: of the same.
        clock: time.
    """

    def __init__(self, inspector: Inspector, controls: Controls, clock: Clock) -> None:
        self._inspector = inspector
        self._controls = controls
        self._clock = clock

    def describe(self) -> Dict[str, Any]:
        """The status of docs/operations.md, with the whole accounting of each lane as `books`."""
        document = self._controls.status.document()
        accounting = self._inspector.accounting()
        for name, lane in document["lanes"].items():
            lane["books"] = accounting[name].as_dict() if name in accounting else {}
        return document

    def command(self, payload: bytes) -> Dict[str, Any]:
        """See PageSource."""
        received_ns = self._clock.monotonic_ns()
        name: Optional[str] = None
        result: Optional[Dict[str, Any]] = None
        error: Optional[CommandError] = None
        try:
            command = parse(payload)
        except CommandError as caught:
            error, request = caught, request_id(payload)
        else:
            request, name = command.id, command_name(command)
            result, error = attempt(self._controls.actions.perform, command, received_ns, "the live page")
        answered: Dict[str, Any] = json.loads(reply(self._controls.thing, request, name, result=result, error=error))
        return answered
