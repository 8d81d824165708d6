"""The pages /metrics, /health and /ready, wherever they are served."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Callable, Optional, Union

from edge_agent.errors import MissingExtraError
from edge_agent.web.messages import Answer, Request, words

#: Empty where all is well, else the reason why not.
Check = Callable[[], str]


class Pages:
    """Answers from any thread.

    Args:
        registry: Prometheus's CollectorRegistry with the figures; or why there are none.
        health: of the process: it should be restarted while this gives a reason.
        ready: whether it does its work now.

    Raises:
        MissingExtraError: there is a registry, and the extra `metrics` is not installed.
    """

    def __init__(self, registry: Union[Any, MissingExtraError], *, health: Check, ready: Check) -> None:
        self._registry = registry
        self._choose_encoder: Any = None
        if not isinstance(registry, MissingExtraError):
            try:
                from prometheus_client.exposition import choose_encoder
            except ImportError as error:
                raise MissingExtraError("prometheus-client", "metrics") from error
            self._choose_encoder = choose_encoder
        self._checks = {"/health": health, "/ready": ready}

    def answer(self, request: Request) -> Optional[Answer]:
        """None where it is none of these pages."""
        check = self._checks.get(request.path)
        if check is None and request.path != "/metrics":
            return None
        if request.method != "GET":
            return words(HTTPStatus.METHOD_NOT_ALLOWED, "here is only GET")
        if check is None:
            return self._metrics(request)
        reason = check()
        return words(HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK, reason or "ok")

    def _metrics(self, request: Request) -> Answer:
        if isinstance(self._registry, MissingExtraError):
            return words(HTTPStatus.NOT_IMPLEMENTED, str(self._registry))
        encode, kind = self._choose_encoder(request.accept)
        return Answer(HTTPStatus.OK, kind, encode(self._registry))
