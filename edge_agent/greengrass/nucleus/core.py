"""The state of the imitated nucleus, shared by its connections. Everything here runs on the event loop."""

from __future__ import annotations

import base64
import copy
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from edge_agent.greengrass.bounded_json import loads
from edge_agent.greengrass.nucleus.authorization import Authorization
from edge_agent.greengrass.nucleus.checks import ConfigurationChecks
from edge_agent.greengrass.nucleus.cloud import Cloud
from edge_agent.greengrass.nucleus.configuration import Configuration, Merge
from edge_agent.greengrass.nucleus.limits import Limits
from edge_agent.greengrass.nucleus.pubsub import OUTSIDE, LocalTopics
from edge_agent.greengrass.nucleus.record import Record
from edge_agent.greengrass.nucleus.state import INVALID_ARGUMENTS, NOT_FOUND, Counters, Faults, OperationError
from edge_agent.greengrass.recipe import ACCESS_CONTROL, Recipe

#: The component that clients are when no recipe is given.
DEFAULT_COMPONENT = "com.example.Local"

SendEvent = Callable[[str, Dict[str, Any]], None]


@dataclass(frozen=True)
class Settings:
    """How a local nucleus is set up; see LocalNucleus."""

    limits: Limits
    recipe: Optional[Recipe]
    thing: str
    region: str
    record: Optional[Path]
    spool_bytes: int


class ConfigurationWatch:
    """One open SubscribeToConfigurationUpdate: events for the leaves at or below `path`."""

    def __init__(self, path: Sequence[str], deliver: Callable[[List[str]], None]) -> None:
        self.path = [key.lower() for key in path]
        self.deliver = deliver

    def concerns(self, changed: Sequence[str]) -> bool:
        return [key.lower() for key in changed[: len(self.path)]] == self.path


class Core:
    def __init__(self, settings: Settings, record: Optional[Record]) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.faults = Faults()
        self.counters = Counters()
        self.component = settings.recipe.name if settings.recipe else DEFAULT_COMPONENT
        self.component_state: Optional[str] = None
        self.configuration = Configuration(settings.recipe.configuration if settings.recipe else {}, settings.limits)
        self.authorization = self._authorize(allow_all=settings.recipe is None)
        self.cloud = Cloud(settings.limits, self.faults, self.counters, record, settings.spool_bytes)
        self.local_topics = LocalTopics()
        self.open_subscriptions = 0
        self._watches: List[ConfigurationWatch] = []
        self.update_listeners: List[SendEvent] = []
        self._update_pending = False
        self.deferrals: List[Dict[str, Any]] = []
        self.checks = ConfigurationChecks()

    def _authorize(self, *, allow_all: bool) -> Authorization:
        access_control = None
        if not allow_all:
            try:
                access_control = self.configuration.get([ACCESS_CONTROL])
            except OperationError:
                access_control = {}
        return Authorization(access_control, thing=self.settings.thing, lite=self.limits.lite)

    def own_configuration(self, component: Optional[str]) -> Configuration:
        if component not in (None, self.component):
            raise OperationError(NOT_FOUND, "Key not found")
        return self.configuration

    def merge(self, path: Sequence[str], value: Any, timestamp_ms: int) -> Merge:
        """Merge into the configuration and tell everybody who watches a leaf that changed."""
        merge = self.configuration.merge(path, value, timestamp_ms)
        for changed in merge.changed:
            for watch in list(self._watches):
                if watch.concerns(changed):
                    watch.deliver(changed)
        return merge

    def watch(self, watch: ConfigurationWatch) -> None:
        self._watches.append(watch)

    def unwatch(self, watch: ConfigurationWatch) -> None:
        if watch in self._watches:
            self._watches.remove(watch)

    async def deploy(self, value: Dict[str, Any]) -> List[List[str]]:
        """Merge as a deployment does, access control included; gives the key paths that changed.

        Raises:
            ValueError: the component rejects the configuration that this would make; nothing changed.
        """
        if not self.limits.lite:
            proposed = copy.deepcopy(self.configuration)
            proposed.merge([], value, time.time_ns() // 1_000_000)
            problem = await self.checks.ask(uuid.uuid4().hex, proposed.get([]))
            if problem is not None:
                raise ValueError(f"the component rejects the configuration: {problem}")
        changed = self.merge([], value, time.time_ns() // 1_000_000).changed
        if any(path[0].lower() == ACCESS_CONTROL.lower() for path in changed):
            self.authorization = self._authorize(allow_all=False)
        return changed

    def announce_update(self, deployment: str, *, restarting: bool) -> int:
        """PreComponentUpdateEvent to every subscriber, who may now defer; gives their number."""
        self._update_pending = bool(self.update_listeners)
        event = {"preUpdateEvent": {"deploymentId": deployment, "isGgcRestarting": restarting}}
        return self._tell_listeners(event)

    def finish_update(self, deployment: str) -> int:
        """PostComponentUpdateEvent to every subscriber; gives their number."""
        self._update_pending = False
        return self._tell_listeners({"postUpdateEvent": {"deploymentId": deployment}})

    def _tell_listeners(self, event: Dict[str, Any]) -> int:
        for send in list(self.update_listeners):
            send("ComponentUpdatePolicyEvents", event)
        return len(self.update_listeners)

    def defer(self, request: Dict[str, Any]) -> None:
        if not self.update_listeners:
            raise OperationError(INVALID_ARGUMENTS, "Component is not subscribed to component update events")
        if not self._update_pending:
            raise OperationError("ServiceError", "Time limit to respond to PreComponentUpdateEvent exceeded")
        self._update_pending = False
        self.deferrals.append(request)

    def publish_local(self, topic: str, payload: bytes) -> int:
        """A message from another component: JSON where it is a JSON object, binary otherwise."""
        try:
            message = loads(payload)
        except ValueError:
            message = None
        if isinstance(message, dict):
            return self.local_topics.publish(topic, "jsonMessage", message, OUTSIDE)
        return self.local_topics.publish(topic, "binaryMessage", encode_bytes(payload), OUTSIDE)

    def reset_faults(self) -> None:
        for name, value in vars(Faults()).items():
            setattr(self.faults, name, value)
        self.cloud.set_online()
        self.cloud.acknowledge_all()

    def snapshot(self, clients: int) -> Dict[str, Any]:
        """Counters and state, as JSON."""
        return {
            **self.counters.snapshot(clients),
            "iot_core": self.cloud.state(),
            "component_state": self.component_state,
            "deferrals": list(self.deferrals),
        }


def encode_bytes(data: bytes) -> str:
    """Bytes as they travel in the protocol's JSON."""
    return base64.b64encode(data).decode()
