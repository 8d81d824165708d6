"""One run of the inspector with all that is around it: its configuration, and its conversation with the nucleus."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Mapping, Optional

from edge_agent.agent.figures.reading import figures
from edge_agent.agent.http_calls import HttpCalls
from edge_agent.agent.inspector import Inspector
from edge_agent.agent.live_page import InspectorOnPage
from edge_agent.agent.probes import make_pages
from edge_agent.agent.settings import InspectorSettings, read_settings
from edge_agent.agent.talk.configuration import (
    COMPONENT,
    ConfigurationKeeper,
    ConfigurationWatch,
    first_configuration,
    watch_component,
)
from edge_agent.agent.talk.controls import Controls
from edge_agent.agent.talk.conversation import Conversation
from edge_agent.agent.trigger_calls import TriggerCalls
from edge_agent.agent.trigger_messages import TriggerMessages
from edge_agent.cameras import Camera, CameraSettings, make_camera
from edge_agent.clock import Clock
from edge_agent.config import read_file
from edge_agent.figures import Figure
from edge_agent.greengrass.ipc import SOCKET_VARIABLE, TOKEN_VARIABLE, IpcClient, check_environment
from edge_agent.greengrass.session import NucleusSession
from edge_agent.page import LivePage, ReviewPages

_log = logging.getLogger(__name__)

# What the inspector's own end leaves of the five seconds that the classic nucleus gives.
_CLOSE_S = 0.15


class Operation:
    """Args:
    config_file: where the configuration is; None: with the nucleus.
    thing: the thing's name.
    clock: time.
    stop: ends the run.
    settled: called with the first settings, before anything is started.
    cameras: see Inspector.
    """

    def __init__(
        self,
        config_file: Optional[Path],
        *,
        thing: str,
        clock: Clock,
        stop: threading.Event,
        settled: Callable[[InspectorSettings], None] = lambda _settings: None,
        cameras: Callable[[CameraSettings, Clock], Camera] = make_camera,
    ) -> None:
        self._config_file = config_file
        self._thing = thing
        self._clock = clock
        self._stop = stop
        self._settled = settled
        self._cameras = cameras
        self._watch: Optional[ConfigurationWatch] = None
        self._controls: Optional[Controls] = None
        self._calls: Optional[HttpCalls] = None
        self.inspector: Optional[Inspector] = None

    def run(self) -> bool:
        """Until every camera is at its end or `stop` is set; waits for a nucleus that is not there yet.

        Returns:
            Whether all is well: see Inspector.run; and not where the nucleus has to start the component anew.

        Raises:
            ConfigError: the first configuration is wrong.
            IpcError: the configuration has to come from a nucleus, and there is none to wait for.
        """
        # A file first of all: it says in which form everything after it is logged.
        file = None if self._config_file is None else self._read_file()
        if file is not None:
            self._settled(self._settings(file))
        session = self._session()
        try:
            return self._run(session, file)
        finally:
            if session is not None:
                session.close(_CLOSE_S)

    @property
    def http_address(self) -> str:
        """Where the live page and the figures are served, as HOST:PORT; empty while they are not."""
        return "" if self._calls is None else self._calls.address

    def report(self) -> Optional[Dict[str, Any]]:
        """Accounting, lanes, and what the conversation counted; None before there is an inspector."""
        if self.inspector is None or self._controls is None:
            return None
        return {**self.inspector.report(), **self._controls.report()}

    def figures(self) -> Iterable[Figure]:
        """What monitoring reads: the report's numbers, and how long each stage took; none before there is an inspector."""
        report = self.report()
        if report is None or self.inspector is None:
            return ()
        return figures(report, self.inspector.observed(), self._thing)

    def read_again(self) -> None:
        """Have the configuration read again, and put into force where it is another one."""
        if self._watch is not None:
            self._watch.notice()

    def _run(self, session: Optional[NucleusSession], file: Optional[Mapping[str, Any]]) -> bool:
        clock, stop = self._clock, self._stop
        data = file if session is None or file is not None else first_configuration(session, clock, stop)
        if data is None:
            return True  # stopped before there was anything to do
        settings = self._settings(data)
        if file is None:
            self._settled(settings)
        inspector = Inspector(
            settings,
            thing=self._thing,
            connect=IpcClient.connect,
            clock=clock,
            config_file=self._config_file,
            cameras=self._cameras,
        )
        keeper = ConfigurationKeeper(inspector.apply, self._thing, stop)
        watch = ConfigurationWatch(self._reader(session), self._subject, keeper, clock, data)
        messages = TriggerMessages(inspector.lane, clock)
        pages = make_pages(inspector, self.figures, stop)
        triggers = TriggerCalls(messages, lambda: inspector.settings)
        parts: Dict[str, Callable[[], Dict[str, Any]]] = {
            "configuration": keeper.status,
            "trigger_messages": messages.counts,
        }
        controls = Controls(inspector, parts, thing=self._thing, clock=clock, stop=stop)
        page = LivePage(inspector.albums, InspectorOnPage(inspector, controls, clock), clock)
        review = ReviewPages(inspector.recorder)
        calls = HttpCalls([pages.answer, triggers.answer, page.answer, review.answer], clock)
        keeper.listen(calls.configure)
        conversation: Optional[Conversation] = None
        if session is not None:
            if self._config_file is None:
                watch_component(session, watch, keeper)
            conversation = Conversation(
                inspector,
                session,
                keeper,
                controls=controls,
                clock=clock,
                stop=stop,
                messages=messages,
                figures=self.figures,
            )
            conversation.start()
        self._controls, self._calls, self._watch, self.inspector = controls, calls, watch, inspector
        page.open()
        calls.configure(settings)
        watch.start()
        _log.info("inspecting: %d lane(s), Edge Agent at %s", len(settings.lanes), settings.edge_agent_socket)
        try:
            well = inspector.run(stop)
        finally:
            watch.close(_CLOSE_S)
            page.close()
            calls.close()
            if conversation is not None:
                conversation.close(_CLOSE_S)
        return well and not (conversation is not None and conversation.token_died())

    def _session(self) -> Optional[NucleusSession]:
        """The way to the nucleus; none where the environment names no nucleus and the configuration is a file's."""
        named = all(os.environ.get(name) for name in (TOKEN_VARIABLE, SOCKET_VARIABLE))
        if self._config_file is not None and not named:
            return None
        check_environment()
        session = NucleusSession(self._clock)
        session.start()
        return session

    @property
    def _subject(self) -> str:
        return COMPONENT if self._config_file is None else str(self._config_file)

    def _settings(self, data: Mapping[str, Any]) -> InspectorSettings:
        return read_settings(data, self._subject, thing=self._thing)

    def _reader(self, session: Optional[NucleusSession]) -> Callable[[], Mapping[str, Any]]:
        if self._config_file is not None or session is None:
            return self._read_file
        nucleus = session
        return lambda: nucleus.call(lambda client: client.get_configuration())

    def _read_file(self) -> Mapping[str, Any]:
        assert self._config_file is not None  # noqa: S101 - without a file there is a session; for the type checker
        return read_file(self._config_file)
