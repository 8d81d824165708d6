"""/metrics, /health and /ready over HTTP, for whichever process has something to say there."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Callable

from edge_agent.errors import MissingExtraError
from edge_agent.web.http_server import Answer, HttpServer, Request, words

_log = logging.getLogger(__name__)

#: Empty where all is well, else the reason why not.
Check = Callable[[], str]


class Exposition:
    """Serves from `open` to `close`.

    Args:
        address: see HttpServer.
        registry: Prometheus's CollectorRegistry with the figures.
        health: of the process: it should be restarted while this gives a reason.
        ready: whether it does its work now.
        token: see HttpServer.

    Raises:
        ConfigError: no such form of an address.
    """

    def __init__(self, address: str, registry: Any, *, health: Check, ready: Check, token: str = "") -> None:
        self._registry = registry
        self._checks = {"/health": health, "/ready": ready}
        self._choose_encoder: Any = None
        self._server = HttpServer(address, self._answer, token=token)

    @property
    def address(self) -> str:
        """Where it serves, with the port that was taken; to be asked when it is open."""
        return self._server.address

    def open(self) -> None:
        """Bind and serve, on threads of its own.

        Raises:
            ConfigError: the address is no loopback address and there is no token.
            MissingExtraError: the extra `metrics` is not installed.
            WebError: the address cannot be served on.
        """
        try:
            from prometheus_client.exposition import choose_encoder
        except ImportError as error:
            raise MissingExtraError("prometheus-client", "metrics") from error
        self._choose_encoder = choose_encoder
        self._server.open()
        _log.info("figures on http://%s/metrics", self.address)

    def close(self) -> None:
        self._server.close()

    def _answer(self, request: Request) -> Answer:
        if request.method != "GET":
            return words(HTTPStatus.METHOD_NOT_ALLOWED, "here is only GET")
        if request.path == "/metrics":
            encode, kind = self._choose_encoder(request.accept)
            return Answer(HTTPStatus.OK, kind, encode(self._registry))
        check = self._checks.get(request.path)
        if check is None:
            return words(HTTPStatus.NOT_FOUND, "there are /metrics, /health and /ready")
        reason = check()
        return words(HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK, reason or "ok")
