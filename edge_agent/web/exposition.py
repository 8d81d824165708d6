"""/metrics, /health and /ready over HTTP, for whichever process has something to say there.

On loopback unless there is a token. Plain HTTP: what leaves the machine belongs behind a proxy with TLS.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import logging
import socket
import stat
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Callable, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from edge_agent.errors import ConfigError, MissingExtraError, WebError

_JSON = "application/json"

# Connections at once, and seconds that a client may be silent: each holds a thread.
_MAX_CONNECTIONS = 16
_TIMEOUT_S = 5.0

# How often to look whether to end.
_LOOK_S = 0.1

_MIN_TOKEN = 16

_log = logging.getLogger(__name__)

#: Empty where all is well, else the reason why not.
Check = Callable[[], str]


class Exposition:
    """Serves from `open` to `close`.

    Args:
        address: `HOST:PORT`, such as 127.0.0.1:9464 or [::1]:9464; port 0 takes a free one.
        registry: Prometheus's CollectorRegistry with the figures.
        health: of the process: it should be restarted while this gives a reason.
        ready: whether it does its work now.
        token: that each request must bear; without it only loopback addresses are served on.

    Raises:
        ConfigError: no such form of an address.
    """

    def __init__(self, address: str, registry: Any, *, health: Check, ready: Check, token: str = "") -> None:
        self._host, self._port = _host_and_port(address)
        self._pages = _Pages(registry, health, ready, token)
        self._server: Optional[_Server] = None

    @property
    def address(self) -> str:
        """Where it serves, with the port that was taken; to be asked when it is open."""
        assert self._server is not None  # noqa: S101 - a caller's slip
        host, port = self._server.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def open(self) -> None:
        """Bind and serve, on threads of its own.

        Raises:
            ConfigError: the address is no loopback address and there is no token.
            MissingExtraError: the extra `metrics` is not installed.
            WebError: the address cannot be served on.
        """
        self._pages.load()
        family, address = self._resolve()
        try:
            self._server = _Server(family, address, self._pages)
        except OSError as error:
            raise WebError(
                f"{self._host}:{self._port}", f"cannot be served on ({error.strerror})", "Choose another address."
            ) from error
        threading.Thread(target=self._server.serve_forever, args=(_LOOK_S,), name="exposition", daemon=True).start()
        _log.info("figures on http://%s/metrics", self.address)

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def _resolve(self) -> Tuple[socket.AddressFamily, Any]:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise WebError(self._host, f"is no address of this machine ({error})", "Use 127.0.0.1.") from error
        if not self._pages.token and not all(_is_loopback(str(entry[4][0])) for entry in found):
            raise ConfigError(
                f"{self._host}:{self._port}",
                "can be reached from other machines",
                "Use 127.0.0.1, or give a token that each request must bear.",
            )
        return found[0][0], found[0][4]


def read_token(path: Path) -> str:
    """The token in a file that others may not read.

    Raises:
        ConfigError: not readable, readable by everybody, or shorter than 16 characters.
    """
    try:
        mode = path.stat().st_mode
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not ASCII text"
        raise ConfigError(str(path), f"cannot be read as a token ({reason})") from error
    if mode & stat.S_IRWXO:
        raise ConfigError(str(path), "is open to every user of this machine", f"Do: chmod o= {path}")
    if len(token) < _MIN_TOKEN or not token.isprintable():
        raise ConfigError(str(path), f"has no token of at least {_MIN_TOKEN} characters", "Use: openssl rand -hex 32")
    return token


class _Answer(NamedTuple):
    status: HTTPStatus
    kind: str
    body: bytes


class _Pages:
    """What is answered; knows no sockets."""

    def __init__(self, registry: Any, health: Check, ready: Check, token: str) -> None:
        self._registry = registry
        self._checks = {"/health": health, "/ready": ready}
        self.token = token
        self._choose_encoder: Any = None

    def load(self) -> None:
        try:
            from prometheus_client.exposition import choose_encoder
        except ImportError as error:
            raise MissingExtraError("prometheus-client", "metrics") from error
        self._choose_encoder = choose_encoder

    def answer(self, path: str, accept: str, authorization: str) -> _Answer:
        if self.token and not hmac.compare_digest(authorization.encode(), f"Bearer {self.token}".encode()):
            return _words(HTTPStatus.UNAUTHORIZED, "this needs the header `Authorization: Bearer TOKEN`")
        if path == "/metrics":
            encode, kind = self._choose_encoder(accept)
            return _Answer(HTTPStatus.OK, kind, encode(self._registry))
        check = self._checks.get(path)
        if check is None:
            return _words(HTTPStatus.NOT_FOUND, "there are /metrics, /health and /ready")
        reason = check()
        return _words(HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK, reason or "ok")


def _words(status: HTTPStatus, words: str) -> _Answer:
    return _Answer(status, _JSON, json.dumps({"status": words}).encode() + b"\n")


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_S
    server_version = "edge-agent"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        head = self.headers
        try:
            answer = self.server.pages.answer(
                urlsplit(self.path).path, head.get("Accept") or "", head.get("Authorization") or ""
            )
        except Exception:  # noqa: BLE001 - one figure that fails must not end the thread without an answer
            _log.exception("GET %s failed", self.path)
            answer = _words(HTTPStatus.INTERNAL_SERVER_ERROR, "failed; the log says why")
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if answer.status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's signature
        _log.debug(format, *args)


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, family: socket.AddressFamily, address: Any, pages: _Pages) -> None:
        self.address_family = family
        self.pages = pages
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        # A client that went or was too slow: http.server lets these through.
        _log.debug("a client of the figures went", exc_info=True)


def _host_and_port(address: str) -> Tuple[str, int]:
    with contextlib.suppress(ValueError):
        parts = urlsplit(f"//{address}")
        # Both looks at the port raise ValueError where it is none.
        if parts.hostname and parts.port is not None and parts.netloc == address and "@" not in address:
            return parts.hostname, parts.port
    raise ConfigError(address, "is not of the form HOST:PORT", "Use, for example, 127.0.0.1:9464.")


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
