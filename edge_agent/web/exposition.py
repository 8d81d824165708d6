"""/metrics, /health and /ready over HTTP, for a process that serves nothing else there."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from edge_agent.web.http_server import HttpServer
from edge_agent.web.messages import Answer, Request, words
from edge_agent.web.pages import Check, Pages

_log = logging.getLogger(__name__)


class Exposition:
    """Serves from `open` to `close`.

    Args:
        address: see HttpServer.
        registry: see Pages.
        health: see Pages.
        ready: see Pages.
        token: see HttpServer.

    Raises:
        ConfigError: no such form of an address.
        MissingExtraError: the extra `metrics` is not installed.
    """

    def __init__(self, address: str, registry: Any, *, health: Check, ready: Check, token: str = "") -> None:
        self._pages = Pages(registry, health=health, ready=ready)
        self._server = HttpServer(address, self._answer, token=token)

    @property
    def address(self) -> str:
        """Where it serves, with the port that was taken; to be asked when it is open."""
        return self._server.address

    def open(self) -> None:
        """Bind and serve, on threads of its own.

        Raises:
            ConfigError: the address is no loopback address and there is no token.
            WebError: the address cannot be served on.
        """
        self._server.open()
        _log.info("figures on http://%s/metrics", self.address)

    def close(self) -> None:
        self._server.close()

    def _answer(self, request: Request) -> Answer:
        return self._pages.answer(request) or words(HTTPStatus.NOT_FOUND, "there are /metrics, /health and /ready")
