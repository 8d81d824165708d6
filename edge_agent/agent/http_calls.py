"""The inspector's own HTTP server: where the configuration says, with what it has to answer."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Callable, Optional, Sequence, Union

from edge_agent.agent.settings import InspectorSettings
from edge_agent.agent.talk_settings import HttpSettings
from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.errors import ConfigError, EdgeAgentError
from edge_agent.outage import Outage
from edge_agent.web import Answer, HttpServer, Request, Stream, Tls, read_token, words

_log = logging.getLogger(__name__)

#: Answers a request; None where it is another one's.
Route = Callable[[Request], Optional[Union[Answer, Stream]]]

# Each viewer of the page holds one, and a few more for a moment.
_CONNECTIONS = 128


class HttpCalls:
    """Serves where the configuration says so, and tries again for as long as the address cannot be had.

    Args:
        routes: asked one after the other, each by several threads at once.
        clock: time.
    """

    def __init__(self, routes: Sequence[Route], clock: Clock) -> None:
        self._routes = routes
        self._clock = clock
        self._lock = threading.Lock()
        self._now = HttpSettings()
        self._server: Optional[HttpServer] = None
        self._given_up = threading.Event()

    @property
    def address(self) -> str:
        """Where it serves; empty while it does not."""
        with self._lock:
            return "" if self._server is None else self._server.address

    def configure(self, settings: InspectorSettings) -> None:
        """Serve as these settings say; returns at once. One thread at a time."""
        if settings.http == self._now:
            return
        self.close()
        self._now = settings.http
        self._given_up = threading.Event()
        if settings.http.address:
            threading.Thread(
                target=self._open, args=(settings.http, self._given_up), name="http-calls", daemon=True
            ).start()

    def close(self) -> None:
        self._given_up.set()
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()

    def _open(self, settings: HttpSettings, given_up: threading.Event) -> None:
        outage, backoff = Outage(_log, f"http: {settings.address}"), Backoff()
        while not given_up.is_set():
            try:
                server = HttpServer(
                    settings.address,
                    self._answer,
                    token=_token(Path(settings.token_file)),
                    browsers=True,
                    tls=_tls(settings),
                    connections=_CONNECTIONS,
                )
                server.open()
            except EdgeAgentError as error:
                outage.report(error)
                self._clock.wait(given_up, backoff.next())
                continue
            outage.over()
            with self._lock:
                late = given_up.is_set()
                if not late:
                    self._server = server
            if late:
                server.close()
            else:
                scheme = "https" if settings.certificate else "http"
                _log.info("http: live page and figures on %s://%s/", scheme, server.address)
            return

    def _answer(self, request: Request) -> Union[Answer, Stream]:
        for route in self._routes:
            answer = route(request)
            if answer is not None:
                return answer
        return words(HTTPStatus.NOT_FOUND, "there are /, /metrics, /health, /ready, POST /lanes/<lane>/trigger")


def _tls(settings: HttpSettings) -> Optional[Tls]:
    return Tls(Path(settings.certificate), Path(settings.key)) if settings.certificate else None


def _token(path: Path) -> str:
    """The token in the file, which is made where there is none."""
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Whole and private from the first moment: others look for the file.
            beside = path.with_name(f".{path.name}.{os.getpid()}")
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_hex(32) + "\n")
            beside.rename(path)
        except OSError as error:
            raise ConfigError(
                str(path), f"cannot be made ({error.strerror})", "Name a file in a directory of ours."
            ) from error
        _log.info("http: a new token is in %s", path)
    return read_token(path)
