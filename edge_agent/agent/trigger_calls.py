"""Triggers over HTTP: `POST /lanes/<lane>/trigger` (docs/triggers.md)."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Callable, Mapping, Optional

from edge_agent.agent.settings import InspectorSettings
from edge_agent.agent.trigger_messages import TriggerMessages
from edge_agent.lane import LaneSettings
from edge_agent.triggers import MessageSettings
from edge_agent.web import Answer, Request, words

_TRIGGER = re.compile(r"/lanes/([A-Za-z0-9_.-]{1,64})/trigger")

_STATUS = {
    "fired": HTTPStatus.ACCEPTED,
    "repeated": HTTPStatus.OK,
    "missed": HTTPStatus.CONFLICT,
    "homeless": HTTPStatus.SERVICE_UNAVAILABLE,
}


class TriggerCalls:
    """Answers from any thread.

    Args:
        messages: takes the triggers.
        settings: what is in force.
    """

    def __init__(self, messages: TriggerMessages, settings: Callable[[], InspectorSettings]) -> None:
        self._messages = messages
        self._settings = settings

    def answer(self, request: Request) -> Optional[Answer]:
        """None where the request is no such call."""
        called = _TRIGGER.fullmatch(request.path)
        if called is None:
            return None
        if request.method != "POST":
            return words(HTTPStatus.METHOD_NOT_ALLOWED, "a trigger is a POST")
        name = called.group(1)
        if not _takes_calls(self._settings().lanes, name):
            return words(HTTPStatus.NOT_FOUND, f"no lane {name} has `trigger: {{type: message, source: http}}`")
        received = self._messages.receive(name, "http", request.body)
        return words(_STATUS[received.outcome], received.outcome, trigger_id=received.id)


def _takes_calls(lanes: Mapping[str, LaneSettings], name: str) -> bool:
    trigger = lanes[name].trigger if name in lanes else None
    return isinstance(trigger, MessageSettings) and trigger.source == "http"
