"""The health message: on start, on change, every so often, and at the end."""

from __future__ import annotations

import math
from typing import Any, Dict, Optional

from edge_agent.agent.talk.outbox import Outbox
from edge_agent.agent.talk.status import MAX_DOCUMENT_BYTES, Status, changes, encode, fit
from edge_agent.agent.talk_settings import HealthSettings
from edge_agent.clock import Clock

# A thing that changes to and fro must not fill the nucleus's pipe.
_BETWEEN_CHANGES_S = 5.0

# Kept until the next one takes its place.
_KEEP_S = 86400.0


class Health:
    """`tick` and `end` are called by one thread at a time; `configure` by any.

    QoS 0: the classic nucleus refuses those while it is offline, where QoS 1 would fill its spool with old news. A
    refused one waits here, and the newest goes in its place.

    Args:
        status: what is told.
        outbox: where it goes.
        clock: time.
    """

    def __init__(self, status: Status, outbox: Outbox, clock: Clock) -> None:
        self._status = status
        self._outbox = outbox
        self._clock = clock
        self._settings = HealthSettings()
        self._told: Optional[Dict[str, Any]] = None
        self._told_ns = 0

    def configure(self, settings: HealthSettings) -> None:
        self._settings = settings

    def tick(self) -> None:
        """Tell, where it is time to."""
        settings = self._settings
        if not settings.every_s:
            return
        since_s = (self._clock.monotonic_ns() - self._told_ns) / 1e9 if self._told is not None else math.inf
        document = self._status.document()
        if self._told is None:
            if document["lanes"]:
                self._tell(document, "start", settings)
        elif since_s >= settings.every_s:
            self._tell(document, "time", settings)
        elif since_s >= _BETWEEN_CHANGES_S and changes(document) != self._told:
            self._tell(document, "change", settings)

    def end(self) -> None:
        """The last one; sent where that can be done at once."""
        if self._settings.every_s and self._told is not None:
            self._tell(self._status.document(), "stop", self._settings)

    def _tell(self, document: Dict[str, Any], reason: str, settings: HealthSettings) -> None:
        self._told = changes(document)
        self._told_ns = self._clock.monotonic_ns()
        message = encode(fit({**document, "reason": reason}, MAX_DOCUMENT_BYTES))
        self._outbox.put(
            "health message",
            lambda client: client.publish_to_iot_core(settings.topic, message, qos=0),
            size=len(message),
            keep_s=_KEEP_S,
            newest_only=True,
        )
