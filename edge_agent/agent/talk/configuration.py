"""Another configuration while the inspector runs: read, checked as a whole, and put into force or refused."""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from edge_agent.agent.settings import InspectorSettings, read_settings
from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.errors import ConfigError, EdgeAgentError, IpcError, IpcInvalidError
from edge_agent.greengrass.ipc import Closable, IpcClient
from edge_agent.greengrass.session import NucleusSession
from edge_agent.outage import Outage

_log = logging.getLogger(__name__)

#: What a component's configuration is called in errors.
COMPONENT = "component configuration"

_LOOK_S = 0.2

# A deployment tells of each leaf by itself: they are one change when this much time passes without another one.
_QUIET_S = 0.5
_QUIET_AT_MOST_S = 5.0


class ConfigurationKeeper:
    """Decides on each configuration that is offered. Safe to use from any thread.

    Args:
        apply: puts settings into force; raises ConfigError for what cannot change while running.
        thing: the thing's name.
        stop: when it is set, nothing is put into force any more.
    """

    def __init__(self, apply: Callable[[InspectorSettings], None], thing: str, stop: threading.Event) -> None:
        self._apply = apply
        self._thing = thing
        self._stop = stop
        self._lock = threading.Lock()
        self._problem: Optional[str] = None
        self._accepted = 0
        self._refused = 0
        self._listeners: List[Callable[[InspectorSettings], None]] = []

    def listen(self, accepted: Callable[[InspectorSettings], None]) -> None:
        """Have `accepted(settings)` called after each change that is in force."""
        self._listeners.append(accepted)

    def check(self, data: Mapping[str, Any], subject: str) -> Optional[str]:
        """Why this would be refused, with the key's path; None where it would not. Nothing changes."""
        try:
            read_settings(data, subject, thing=self._thing)
        except ConfigError as error:
            return str(error)
        return None

    def offer(self, data: Mapping[str, Any], subject: str) -> Optional[str]:
        """Put this into force, or say why it is refused as a whole; then the one before goes on."""
        with self._lock:
            if self._stop.is_set():
                return "the inspector is stopping"
            try:
                settings = read_settings(data, subject, thing=self._thing)
                self._apply(settings)
            except EdgeAgentError as error:
                self._refuse(error)
                return str(error)
            self._problem = None
            self._accepted += 1
            for listener in self._listeners:
                listener(settings)
            return None

    def refuse(self, error: EdgeAgentError) -> None:
        """What should have been read cannot be."""
        with self._lock:
            self._refuse(error)

    def status(self) -> Dict[str, Any]:
        """Whether the newest configuration is in force, and the counts of changes."""
        problem = self._problem
        status: Dict[str, Any] = {"state": "in_force" if problem is None else "refused"}
        if problem is not None:
            status["problem"] = problem
        return {**status, "changes_accepted": self._accepted, "changes_refused": self._refused}

    def _refuse(self, error: EdgeAgentError) -> None:
        self._refused += 1
        self._problem = str(error)
        _log.error("configuration refused, the one before goes on: %s", error, extra={"problem": error.subject})


class ConfigurationWatch:
    """Reads the configuration again when it is told that there is another one.

    Args:
        read: gives it; raises ConfigError where it cannot be read, IpcError where it cannot be now.
        subject: what errors call it.
        keeper: decides.
        clock: time.
        known: what is in force.
        quiet_s: seconds without another notice after which the change is whole.
    """

    def __init__(
        self,
        read: Callable[[], Mapping[str, Any]],
        subject: str,
        keeper: ConfigurationKeeper,
        clock: Clock,
        known: Mapping[str, Any],
        *,
        quiet_s: float = _QUIET_S,
    ) -> None:
        self._read = read
        self._subject = subject
        self._keeper = keeper
        self._clock = clock
        self._known = _own(known)
        self._quiet_s = quiet_s
        self._noticed = threading.Event()
        self._stop = threading.Event()
        self._outage = Outage(_log, f"reading the {subject}")
        self._thread = threading.Thread(target=self._run, name="configuration", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def notice(self) -> None:
        """It may have changed."""
        self._noticed.set()

    def close(self, timeout: float) -> None:
        self._stop.set()
        self._noticed.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._clock.wait(self._noticed, _LOOK_S):
                continue
            self._gather()
            try:
                self._look()
            except Exception:  # noqa: BLE001 - the old configuration goes on, and the next one gets its chance
                _log.exception("the %s was not taken over: an internal error", self._subject)

    def _gather(self) -> None:
        started_ns = self._clock.monotonic_ns()
        while not self._stop.is_set():
            self._noticed.clear()
            enough = self._clock.monotonic_ns() - started_ns > _QUIET_AT_MOST_S * 1e9
            if enough or not self._clock.wait(self._noticed, self._quiet_s):
                return

    def _look(self) -> None:
        backoff = Backoff()
        while not self._stop.is_set():
            try:
                values = _own(self._read())
            except IpcError as error:
                self._outage.report(error)
                self._clock.wait(self._stop, backoff.next())
                continue
            except ConfigError as error:
                self._keeper.refuse(error)
                return
            self._outage.over()
            if values != self._known:
                self._known = values
                self._keeper.offer(values, self._subject)
            return


def watch_component(session: NucleusSession, watch: ConfigurationWatch, keeper: ConfigurationKeeper) -> None:
    """Have the nucleus tell of changes, also of those that a lost connection hid, and ask before a deployment lands."""

    def changed(_key_path: Sequence[str]) -> None:
        watch.notice()

    def asks(client: IpcClient) -> Closable:
        def answer(deployment: str, proposed: Dict[str, Any]) -> None:
            problem = keeper.check(proposed, COMPONENT)
            if problem is not None:
                _log.error("deployment %s rejected: %s", deployment, problem, extra={"deployment": deployment})
            try:
                client.report_configuration(deployment, problem)
            except IpcError as error:
                _log.warning("the answer about deployment %s did not arrive: %s", deployment, error)

        return client.subscribe_to_configuration_checks(answer)

    session.subscribe("configuration updates", lambda client: client.subscribe_to_configuration_update(changed))
    session.subscribe("configuration checks", asks, optional=True)
    session.on_connect(watch.notice)


def first_configuration(session: NucleusSession, clock: Clock, stop: threading.Event) -> Optional[Dict[str, Any]]:
    """The component's configuration, as soon as the nucleus gives it; None when `stop` was set before.

    Raises:
        IpcInvalidError: it has none.
    """
    outage = Outage(_log, f"reading the {COMPONENT}")
    while not stop.is_set():
        if session.connected():
            try:
                values = session.call(lambda client: client.get_configuration())
            except IpcInvalidError:
                raise
            except IpcError as error:
                outage.report(error)
            else:
                outage.over()
                return values
        clock.wait(stop, _LOOK_S)
    return None


def _own(values: Mapping[str, Any]) -> Dict[str, Any]:
    """Without what is the nucleus's own."""
    return {key: value for key, value in values.items() if key != "accessControl"}
