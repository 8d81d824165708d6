"""The connections of an HTTP server: each has a thread, and is kept for further requests while there is room."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Optional, Set, Union
from urllib.parse import urlsplit

from edge_agent.web.messages import Answer, Answering, Request, Stream, words

# Seconds that a client may be silent or take nothing.
_TIMEOUT_S = 5.0

_MAX_BODY = 64 * 1024

# Nothing is loaded from elsewhere, and no other page shows or is told of ours.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)

_log = logging.getLogger(__name__)


class Connections(ThreadingMixIn, TCPServer):
    """Bound when it is made; serves in `serve_forever`.

    Args:
        family: of the address.
        address: as the socket module has it.
        answer: called by several threads at once; what it raises becomes an answer 500 and a line in the log.
        tls: to serve HTTPS.
        most: connections at once; one more is closed.

    Raises:
        OSError: the address cannot be served on.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        family: socket.AddressFamily,
        address: Any,
        answer: Answering,
        tls: Optional[ssl.SSLContext],
        most: int,
    ) -> None:
        self.address_family = family
        self.answer = answer
        self._tls = tls
        self._most = most
        self._lock = threading.Lock()
        self._taken = 0
        self._open: Set[socket.socket] = set()
        self._closed = False
        super().__init__(address, _Handler)

    def has_room(self) -> bool:
        """Whether a connection may be kept for another request. A newcomer needs it more than one that is silent."""
        with self._lock:
            return not self._closed and self._taken <= self._most // 2

    def finish_request(self, request: Any, client_address: Any) -> None:
        """On the thread of the connection: a client that is slow to shake hands holds up nobody else."""
        if self._tls is None:
            self._serve(request, client_address)
            return
        request.settimeout(_TIMEOUT_S)
        with self._tls.wrap_socket(request, server_side=True) as wrapped:
            self._serve(wrapped, client_address)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            room = self._taken < self._most
            self._taken += room
        if room:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._taken -= 1

    def server_close(self) -> None:
        """Answers under way are sent to their end; no kept connection has another one."""
        super().server_close()
        with self._lock:
            self._closed = True
            for connection in self._open:
                with contextlib.suppress(OSError):  # the client went
                    # Of TLS, too: SSLSocket.shutdown would go on in clear text.
                    socket.socket.shutdown(connection, socket.SHUT_RD)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        # A client that went or was too slow: http.server lets these through.
        _log.debug("a client went", exc_info=True)

    def _serve(self, connection: socket.socket, client_address: Any) -> None:
        with self._lock:
            if self._closed:
                return
            self._open.add(connection)
        try:
            super().finish_request(connection, client_address)
        finally:
            with self._lock:
                self._open.discard(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_S
    # Head and body are two packets: with Nagle's algorithm the second would wait for the first one's acknowledgement.
    disable_nagle_algorithm = True
    server_version = "edge-agent"
    sys_version = ""
    server: Connections

    def do_GET(self) -> None:
        # A body would be taken for the next request.
        if "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0":
            self.close_connection = True
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
        if len(body) == length:
            self._reply(body)
        else:  # the client went
            self.close_connection = True

    def _reply(self, body: bytes) -> None:
        def header(name: str) -> str:
            return str(self.headers.get(name) or "")

        target = urlsplit(self.path)
        request = Request(
            str(self.command),
            target.path,
            header("Accept"),
            body,
            authorization=header("Authorization"),
            cookie=header("Cookie"),
            origin=header("Origin"),
            host=header("Host"),
            query=target.query,
        )
        answer: Union[Answer, Stream]
        try:
            answer = self.server.answer(request)
        except Exception:  # noqa: BLE001 - one page that fails must not end the thread without an answer
            _log.exception("%s %s failed", request.method, request.path)
            answer = words(HTTPStatus.INTERNAL_SERVER_ERROR, "failed; the log says why")
        if isinstance(answer, Stream):
            self._send_all(answer)
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in (*_HEADERS, *answer.headers):
            self.send_header(name, value)
        if answer.status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        if self.close_connection or not self.server.has_room():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    def _send_all(self, stream: Stream) -> None:
        with contextlib.closing(stream.chunks):  # type: ignore[type-var]
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", stream.kind)
            for name, value in _HEADERS:
                self.send_header(name, value)
            # Its end is that of the connection.
            self.send_header("Connection", "close")
            self.end_headers()
            for chunk in stream.chunks:
                self.wfile.write(chunk)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's signature
        _log.debug(format, *args)
