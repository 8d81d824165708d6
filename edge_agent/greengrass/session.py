"""One connection to the nucleus that comes back by itself, with the subscriptions that were made on it."""

from __future__ import annotations

import logging
import threading
from typing import Callable, Dict, List, Optional, TypeVar

from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.errors import IpcError, IpcTokenRefusedError, IpcUnavailableError
from edge_agent.greengrass.ipc import Closable, IpcClient
from edge_agent.outage import Outage

_log = logging.getLogger(__name__)

_LOOK_S = 0.2

#: A token that worked and is refused for so long is dead: only a restart by the nucleus brings another.
_DEAD_TOKEN_S = 60.0

Subscribe = Callable[[IpcClient], Closable]
Result = TypeVar("Result")


class _Wanted:
    """One subscription that somebody wants, and how trying goes."""

    def __init__(self, name: str, subscribe: Subscribe, *, optional: bool) -> None:
        self.name = name
        self.subscribe = subscribe
        self.optional = optional
        self.open: Optional[Closable] = None
        self.given_up = False
        self.outage = Outage(_log, name)
        self._backoff = Backoff()
        self._not_before_ns = 0

    def due(self, now_ns: int) -> bool:
        return self.open is None and not self.given_up and now_ns >= self._not_before_ns

    def failed(self, now_ns: int) -> None:
        self._not_before_ns = now_ns + round(self._backoff.next() * 1e9)

    def forget(self) -> None:
        """The connection is gone, and what was open on it."""
        self.open = None
        self.given_up = False
        self._not_before_ns = 0
        self._backoff.reset()


class NucleusSession:
    """Connects for ever, with back-off, on a thread of its own; safe to use from any thread.

    Args:
        connect: a new connection; `on_disconnect` is called when it is lost.
        clock: time.
        connect_timeout_s: seconds for one try; a busy nucleus was seen to take 30.
    """

    def __init__(
        self, clock: Clock, *, connect: Callable[..., IpcClient] = IpcClient.connect, connect_timeout_s: float = 45.0
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._connect_timeout_s = connect_timeout_s
        self._lock = threading.Lock()
        self._client: Optional[IpcClient] = None
        self._wanted: Dict[str, _Wanted] = {}
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._listeners: List[Callable[[], None]] = []
        self._was_connected = False
        self._refused_since_ns: Optional[int] = None
        self._token_dead = threading.Event()
        self._outage = Outage(_log, "connection to the nucleus")
        self._thread = threading.Thread(target=self._run, name="nucleus-session", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def connected(self) -> bool:
        with self._lock:
            return self._client is not None

    def token_is_dead(self) -> bool:
        """Whether a token that worked is refused now: end with an error, so that the nucleus starts us with another.

        Never true for a token that did not work yet, so that a broken nucleus does not burn the few starts an hour.
        """
        return self._token_dead.is_set()

    def subscribe(self, name: str, subscribe: Subscribe, *, optional: bool = False) -> None:
        """Have `subscribe(client)` called now or as soon as there is a connection, and again on every new one.

        One that is refused is tried again, with back-off; an `optional` one, such as what nucleus lite does not know, not
        before the next connection.
        """
        with self._lock:
            self._wanted[name] = _Wanted(name, subscribe, optional=optional)
        self._wake.set()

    def unsubscribe(self, name: str) -> None:
        with self._lock:
            wanted = self._wanted.pop(name, None)
        if wanted is not None and wanted.open is not None:
            wanted.open.close()

    def renew(self, name: str) -> None:
        """Subscribe anew: the one there is has gone deaf, which the nucleus tells nobody."""
        with self._lock:
            wanted = self._wanted.get(name)
            subscription = wanted.open if wanted is not None else None
            if wanted is not None:
                wanted.forget()
        if subscription is not None:
            subscription.close()
        self._wake.set()

    def on_connect(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, on the session's thread, after each connection and its subscriptions."""
        self._listeners.append(listener)

    def call(self, function: Callable[[IpcClient], Result]) -> Result:
        """`function(client)` on the connection there is.

        Raises:
            IpcUnavailableError: there is none now.
            IpcError: what the function raises.
        """
        with self._lock:
            client = self._client
        if client is None:
            raise IpcUnavailableError("nucleus", "there is no connection now")
        try:
            return function(client)
        except IpcUnavailableError:
            self._lost.set()
            self._wake.set()
            raise

    def close(self, timeout: float) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        backoff = Backoff()
        while not self._stop.is_set():
            try:
                client = self._connect(timeout=self._connect_timeout_s, on_disconnect=self._disconnected)
            except IpcError as error:
                self._outage.report(error)
                self._note_refusal(error)
                self._clock.wait(self._stop, backoff.next())
                continue
            self._outage.over()
            backoff.reset()
            self._refused_since_ns = None
            self._was_connected = True
            self._keep(client)

    def _keep(self, client: IpcClient) -> None:
        """Use one connection until it is lost."""
        self._lost.clear()
        with self._lock:
            self._client = client
        told = False
        try:
            while not self._stop.is_set() and not self._lost.is_set():
                self._subscribe_missing(client)
                if not told:
                    told = True
                    for listener in self._listeners:
                        listener()
                self._clock.wait(self._wake, _LOOK_S)
                self._wake.clear()
        finally:
            with self._lock:
                self._client = None
                for wanted in self._wanted.values():
                    wanted.forget()
            client.close()

    def _subscribe_missing(self, client: IpcClient) -> None:
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            due = [wanted for wanted in self._wanted.values() if wanted.due(now_ns)]
        for wanted in due:
            try:
                subscription = wanted.subscribe(client)
            except IpcUnavailableError:
                self._lost.set()
                return
            except IpcError as error:
                if wanted.optional:
                    wanted.given_up = True
                    _log.info("%s: not with this nucleus: %s", wanted.name, error)
                else:
                    wanted.outage.report(error)
                    wanted.failed(now_ns)
                continue
            wanted.outage.over()
            with self._lock:
                wanted.open = subscription

    def _disconnected(self) -> None:
        self._lost.set()
        self._wake.set()

    def _note_refusal(self, error: IpcError) -> None:
        """The socket answers and the token is refused: AccessDenied on classic; lite closes the connection."""
        now_ns = self._clock.monotonic_ns()
        if not isinstance(error, IpcTokenRefusedError):
            self._refused_since_ns = None
            return
        if self._refused_since_ns is None:
            self._refused_since_ns = now_ns
        if self._was_connected and now_ns - self._refused_since_ns > _DEAD_TOKEN_S * 1e9:
            self._token_dead.set()
