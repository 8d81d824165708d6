"""Triggers that come as messages on topics: from AWS IoT Core, or from another component of the device."""

from __future__ import annotations

from typing import Callable, Dict, Mapping

from edge_agent.agent.trigger_messages import TriggerMessages
from edge_agent.greengrass.ipc import Closable, IpcClient
from edge_agent.greengrass.session import NucleusSession
from edge_agent.lane import LaneSettings
from edge_agent.triggers import MessageSettings

Subscribe = Callable[[IpcClient], Closable]


class MessageTriggers:
    """Subscribes for each lane that says so. `configure` may be called again, by one thread at a time.

    Args:
        session: the nucleus.
        messages: takes what comes.
    """

    def __init__(self, session: NucleusSession, messages: TriggerMessages) -> None:
        self._session = session
        self._messages = messages
        self._topics: Dict[str, MessageSettings] = {}

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

    def _subscribe(self, name: str, settings: MessageSettings) -> Subscribe:
        source = f"{settings.source} {settings.topic}"

        def deliver(_topic: str, payload: bytes) -> None:
            self._messages.receive(name, source, payload)

        def subscribe(client: IpcClient) -> Closable:
            if settings.source == "local":
                return client.subscribe_to_topic(settings.topic, deliver)
            return client.subscribe_to_iot_core(settings.topic, deliver)

        return subscribe


def _subscription(lane: str) -> str:
    return f"trigger messages of lane {lane}"
