"""Triggers that come as messages: from AWS IoT Core, or from another component of the device."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter, OrderedDict
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from edge_agent.agent.talk.commands import ID, MAX_COMMAND_BYTES
from edge_agent.clock import Clock
from edge_agent.errors import ConfigError, TriggerError
from edge_agent.greengrass.ipc import Closable, IpcClient
from edge_agent.greengrass.session import NucleusSession
from edge_agent.lane import Lane, LaneSettings
from edge_agent.triggers import MessageSettings, Trigger

_log = logging.getLogger(__name__)

# Ids of a lane that are remembered: with QoS 1 a message may come twice, and a part is there once.
_REMEMBER = 256

Subscribe = Callable[[IpcClient], Closable]


class MessageTriggers:
    """Subscribes for each lane that says so. `configure` may be called again, by one thread at a time.

    Args:
        session: the nucleus.
        lane: the running lane of a name; raises ConfigError where there is none.
        clock: time.
    """

    def __init__(self, session: NucleusSession, lane: Callable[[str], Lane], clock: Clock) -> None:
        self._session = session
        self._lane = lane
        self._clock = clock
        self._lock = threading.Lock()
        self._topics: Dict[str, MessageSettings] = {}
        self._seen: OrderedDict[Tuple[str, str], None] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def configure(self, lanes: Mapping[str, LaneSettings]) -> None:
        wanted = {
            name: lane.trigger
            for name, lane in lanes.items()
            if isinstance(lane.trigger, MessageSettings) and lane.trigger.source != "http"
        }
        for name in [name for name, settings in self._topics.items() if wanted.get(name) != settings]:
            del self._topics[name]
            self._session.unsubscribe(_subscription(name))
        for name, settings in wanted.items():
            if name not in self._topics:
                self._topics[name] = settings
                self._session.subscribe(_subscription(name), self._subscribe(name, settings))

    def counts(self) -> Dict[str, int]:
        """Messages: received = fired + missed + repeated + homeless; missed ones are counted by cause in the lane, too."""
        with self._lock:
            return dict(self._counts)

    def receive(self, name: str, source: str, payload: bytes) -> None:
        """A message on the topic of a lane; returns at once."""
        triggered_ns = self._clock.monotonic_ns()
        self._count("received")
        given = _id_in(payload)
        if given is not None and self._repeated(name, given):
            self._count("repeated")
            return
        trigger = Trigger(source, triggered_ns) if given is None else Trigger(source, triggered_ns, given)
        try:
            fired = self._lane(name).trigger(trigger)
        except (ConfigError, TriggerError) as error:
            # The lane is just being built anew.
            self._count("homeless")
            _log.warning("lane %s: trigger %s found no lane: %s", name, trigger.id, error, extra={"lane": name})
            return
        self._count("fired" if fired else "missed")

    def _subscribe(self, name: str, settings: MessageSettings) -> Subscribe:
        source = f"{settings.source} {settings.topic}"

        def deliver(_topic: str, payload: bytes) -> None:
            self.receive(name, source, payload)

        def subscribe(client: IpcClient) -> Closable:
            if settings.source == "local":
                return client.subscribe_to_topic(settings.topic, deliver)
            return client.subscribe_to_iot_core(settings.topic, deliver)

        return subscribe

    def _repeated(self, lane: str, trigger: str) -> bool:
        with self._lock:
            if (lane, trigger) in self._seen:
                return True
            self._seen[lane, trigger] = None
            while len(self._seen) > _REMEMBER * max(1, len(self._topics)):
                self._seen.popitem(last=False)
            return False

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


def _subscription(lane: str) -> str:
    return f"trigger messages of lane {lane}"


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
