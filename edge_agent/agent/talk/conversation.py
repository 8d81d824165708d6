"""Everything the inspector and the nucleus say to one another beside inspections, put together."""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Dict, Iterable

from edge_agent.agent.inspector import Inspector
from edge_agent.agent.settings import InspectorSettings
from edge_agent.agent.talk.cloudwatch import CloudwatchMetrics
from edge_agent.agent.talk.command_desk import CommandDesk
from edge_agent.agent.talk.configuration import ConfigurationKeeper
from edge_agent.agent.talk.confirmation import Confirmation
from edge_agent.agent.talk.controls import Controls
from edge_agent.agent.talk.health import Health
from edge_agent.agent.talk.message_triggers import MessageTriggers
from edge_agent.agent.talk.outbox import Outbox
from edge_agent.agent.talk.ticker import Ticker
from edge_agent.agent.talk.updates import UpdateGuard
from edge_agent.agent.talk_settings import CommandSettings
from edge_agent.agent.trigger_messages import TriggerMessages
from edge_agent.clock import Clock
from edge_agent.errors import IpcUnavailableError
from edge_agent.figures import Figure
from edge_agent.greengrass.ipc import Closable, IpcClient
from edge_agent.greengrass.session import NucleusSession

_log = logging.getLogger(__name__)

_TICK_S = 0.5

# A reply later than this answers nobody.
_REPLY_S = 60.0


class Conversation:
    """Commands, message triggers, health, heartbeats and the component's life, for one inspector.

    None of it is in the way of an inspection: everything runs on threads of its own, with bounded queues.

    Args:
        inspector: what it is about.
        session: the nucleus; started and closed by the caller.
        keeper: of the configuration; its changes are followed.
        controls: of the inspector; what is known only here is added to its parts.
        clock: time.
        stop: of the inspector. Set here when the nucleus has to start the component anew: see `token_died`.
        messages: takes triggers that come on topics.
        figures: the inspector's, for CloudWatch.
    """

    def __init__(
        self,
        inspector: Inspector,
        session: NucleusSession,
        keeper: ConfigurationKeeper,
        *,
        controls: Controls,
        clock: Clock,
        stop: threading.Event,
        messages: TriggerMessages,
        figures: Callable[[], Iterable[Figure]],
    ) -> None:
        self._inspector = inspector
        self._session = session
        self._stop = stop
        self._outbox = Outbox(session, clock)
        self._confirmation = Confirmation(session, self._outbox, self._delivered, clock)
        self._triggers = MessageTriggers(session, messages)
        self._updates = UpdateGuard(inspector.busy, controls.hold, lambda: inspector.settings.updates, clock)
        self._health = Health(controls.status, self._outbox, clock)
        self._cloudwatch = CloudwatchMetrics(figures, self._outbox, clock)
        self._desk = CommandDesk(controls.thing, controls.actions.perform, self._reply, clock)
        controls.parts["delivery"] = self._confirmation.status
        controls.parts["unsent"] = self._outbox.lost
        controls.parts["commands"] = self._desk.counts
        self._ticker = Ticker("conversation", self._tick, _TICK_S, clock)
        self._commands: CommandSettings = CommandSettings(sources=())
        self._running_told = threading.Event()
        self._token_died = threading.Event()
        keeper.listen(self._configure)
        session.on_connect(self._running_told.clear)

    def start(self) -> None:
        """Subscribe, and begin to talk; before or after the inspector runs."""
        self._configure(self._inspector.settings)
        self._updates.subscribe(self._session)
        self._outbox.start()
        self._desk.start()
        self._ticker.start()

    def token_died(self) -> bool:
        """Whether the run was ended because the nucleus refuses our token: only a new start brings another one."""
        return self._token_died.is_set()

    def close(self, timeout: float) -> None:
        """Say goodbye where that can be done at once, and be silent."""
        self._desk.close()
        self._ticker.close(timeout / 2)
        self._health.end()
        self._outbox.close(timeout / 2)

    def _configure(self, settings: InspectorSettings) -> None:
        self._health.configure(settings.health)
        self._cloudwatch.configure(settings.cloudwatch)
        self._confirmation.configure(settings.confirm)
        self._triggers.configure(settings.lanes)
        before, self._commands = self._commands, settings.commands
        if before == settings.commands:
            return
        for source in before.sources:
            self._session.unsubscribe(_subscription(source))
        for source in settings.commands.sources:
            self._subscribe_to_commands(source, settings.commands.topic)

    def _subscribe_to_commands(self, source: str, topic: str) -> None:
        def deliver(_topic: str, payload: bytes) -> None:
            self._desk.receive(source, payload)

        def subscribe(client: IpcClient) -> Closable:
            return (
                client.subscribe_to_topic(topic, deliver)
                if source == "local"
                else client.subscribe_to_iot_core(topic, deliver)
            )

        self._session.subscribe(_subscription(source), subscribe)

    def _reply(self, source: str, message: bytes) -> bool:
        topic = self._commands.replies

        def send(client: IpcClient) -> None:
            if source == "local":
                client.publish_to_topic(topic, message)
            else:
                client.publish_to_iot_core(topic, message, qos=1)

        return self._outbox.put("reply to a command", send, size=len(message), keep_s=_REPLY_S)

    def _tick(self) -> None:
        if self._session.token_is_dead() and not self._token_died.is_set():
            self._token_died.set()
            _log.error("the nucleus refuses the token that it gave; ending, so that it starts this component anew")
            self._stop.set()
        if self._stop.is_set():
            return
        if not self._running_told.is_set() and self._session.connected() and self._inspector.lanes():
            self._running_told.set()
            self._outbox.put("component state", lambda client: client.update_state("RUNNING"), done=self._told)
        self._confirmation.tick()
        self._health.tick()
        self._cloudwatch.tick()

    def _told(self, error: Any) -> None:
        # Nucleus lite refuses this where it does not run under systemd; nothing depends on it.
        if isinstance(error, IpcUnavailableError):
            self._running_told.clear()

    def _delivered(self) -> Dict[str, int]:
        return {name: books.delivered for name, books in self._inspector.accounting().items()}


def _subscription(source: str) -> str:
    return f"commands from {source}"
