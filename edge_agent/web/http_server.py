"""A small HTTP server for pages and actions of one process, on loopback unless there is a token.

Plain HTTP: what leaves the machine belongs behind a proxy with TLS.
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

from edge_agent.errors import ConfigError, WebError

_JSON = "application/json"

# Connections at once, and seconds that a client may be silent: each holds a thread.
_MAX_CONNECTIONS = 16
_TIMEOUT_S = 5.0

# How often to look whether to end.
_LOOK_S = 0.1

_MIN_TOKEN = 16
_MAX_BODY = 64 * 1024

_log = logging.getLogger(__name__)


class Request(NamedTuple):
    """`path` is without its query; `body` is empty with GET."""

    method: str
    path: str
    accept: str
    body: bytes


class Answer(NamedTuple):
    """`kind` is the media type."""

    status: HTTPStatus
    kind: str
    body: bytes


Answering = Callable[[Request], Answer]


def words(status: HTTPStatus, text: str, **more: Any) -> Answer:
    """An answer as a JSON object whose `status` is a text."""
    return Answer(status, _JSON, json.dumps({"status": text, **more}).encode() + b"\n")


class HttpServer:
    """Serves from `open` to `close`.

    Args:
        address: `HOST:PORT`, such as 127.0.0.1:9464 or [::1]:9464; port 0 takes a free one.
        answer: called by several threads at once; what it raises becomes an answer 500 and a line in the log.
        token: that each request must bear; without it only loopback addresses are served on.

    Raises:
        ConfigError: no such form of an address.
    """

    def __init__(self, address: str, answer: Answering, *, token: str = "") -> None:
        self._host, self._port = _host_and_port(address)
        self._answer = answer
        self._token = token
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
            WebError: the address cannot be served on.
        """
        family, address = self._resolve()
        try:
            self._server = _Server(family, address, self._checked)
        except OSError as error:
            raise WebError(
                f"{self._host}:{self._port}", f"cannot be served on ({error.strerror})", "Choose another address."
            ) from error
        threading.Thread(target=self._server.serve_forever, args=(_LOOK_S,), name="http", daemon=True).start()

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
        if not self._token and not all(_is_loopback(str(entry[4][0])) for entry in found):
            raise ConfigError(
                f"{self._host}:{self._port}",
                "can be reached from other machines",
                "Use 127.0.0.1, or give a token that each request must bear.",
            )
        return found[0][0], found[0][4]

    def _checked(self, request: Request, authorization: str) -> Answer:
        if self._token and not hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode()):
            return words(HTTPStatus.UNAUTHORIZED, "this needs the header `Authorization: Bearer TOKEN`")
        return self._answer(request)


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


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_S
    server_version = "edge-agent"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        self._reply(b"")

    def do_POST(self) -> None:
        # A body of unknown length would have to be read to its end before the next request.
        try:
            length = int(self.headers.get("Content-Length") or "0")
        except ValueError:
            length = -1
        if "Transfer-Encoding" in self.headers or not 0 <= length <= _MAX_BODY:
            self.close_connection = True
            self._send(words(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"needs a Content-Length of at most {_MAX_BODY}"))
            return
        body = self.rfile.read(length)
        if len(body) == length:  # else the client went
            self._reply(body)

    def _reply(self, body: bytes) -> None:
        head = self.headers
        request = Request(str(self.command), urlsplit(self.path).path, head.get("Accept") or "", body)
        try:
            answer = self.server.answer(request, head.get("Authorization") or "")
        except Exception:  # noqa: BLE001 - one page that fails must not end the thread without an answer
            _log.exception("%s %s failed", request.method, self.path)
            answer = words(HTTPStatus.INTERNAL_SERVER_ERROR, "failed; the log says why")
        self._send(answer)

    def _send(self, answer: Answer) -> None:
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

    def __init__(self, family: socket.AddressFamily, address: Any, answer: Callable[[Request, str], Answer]) -> None:
        self.address_family = family
        self.answer = answer
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
        _log.debug("a client went", exc_info=True)


def _host_and_port(address: str) -> Tuple[str, int]:
    with contextlib.suppress(ValueError):
        parts = urlsplit(f"//{address}")
        # Both looks at the port raise ValueError where it is none.
        if parts.hostname and parts.port is not None and parts.netloc == address and "@" not in address:
            return parts.hostname, parts.port
    raise ConfigError(address, "is not of the form HOST:PORT", "Use, for example, 127.0.0.1:9464.")


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
