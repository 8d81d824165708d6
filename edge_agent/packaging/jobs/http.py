"""`edge-agent packaging serve`: the operations over HTTP, for this machine alone, for who has the key pair.

One request to a connection. Everything is bounded: connections at a time, sizes, and the time in which a whole request
must have come.
"""

from __future__ import annotations

import datetime as dt
import io
import ipaddress
import logging
import re
import socket
import socketserver
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Dict, Optional

from edge_agent.errors import AccessDeniedError, ConfigError, PackagingError, ThrottlingError, ValidationError
from edge_agent.packaging.jobs.credentials import KeyPair
from edge_agent.packaging.jobs.rest import Response, answer, error_response
from edge_agent.packaging.jobs.service import PackagingService
from edge_agent.packaging.jobs.signature import SignedRequest, check_signature

#: 200 tags of three-byte characters, escaped, are half of it.
MAX_BODY_BYTES = 1024 * 1024
MAX_CONNECTIONS = 16
REQUEST_SECONDS = 15.0

_LINGER_S = 0.2
_CHUNK = 65536

_log = logging.getLogger(__name__)


class PackagingServer(socketserver.ThreadingMixIn, HTTPServer):
    """Listens once it is made; `serve_forever` answers, `shutdown` from another thread ends that.

    Args:
        service: that answers.
        pair: what requests must be signed with.
        host: an address of the loopback interface.
        port: 0 for a free one.
        max_connections: more are told to come back later.
        request_seconds: in which a request must be here.

    Raises:
        ConfigError: another address, or the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        service: PackagingService,
        pair: KeyPair,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        max_connections: int = MAX_CONNECTIONS,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self.service = service
        self.pair = pair
        self.request_seconds = request_seconds
        self._slots = threading.BoundedSemaphore(max_connections)
        self.address_family = _family(host)
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"{host}:{port}", f"cannot be listened on ({error})", "Give another --port.") from error

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        text = host.decode() if isinstance(host, (bytes, bytearray)) else str(host)
        return f"http://[{text}]:{port}" if ":" in text else f"http://{text}:{port}"

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # not HTTPServer's, which asks the name service

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            _turn_away(request)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        del request
        _log.debug("connection of %s ended early", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: PackagingServer
    protocol_version = "HTTP/1.1"
    server_version = "edge-agent"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        deadline = time.monotonic() + self.server.request_seconds
        self.rfile = io.BufferedReader(_TimedReader(self.connection, deadline))

    def handle(self) -> None:
        self.close_connection = True
        self.handle_one_request()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        try:
            body = self._read_body()
            path, _, query = self.path.partition("?")
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = SignedRequest(self.command, path, query, headers, body)
            self._check_fields(request)
            check_signature(request, self.server.pair, dt.datetime.now(dt.timezone.utc))
        except PackagingError as error:
            if isinstance(error, AccessDeniedError):
                _log.warning("refused: %s", error)
            self._send(error_response(error))
            _linger(self.connection)
            return
        self._send(answer(self.server.service, self.command, path, query, headers, body))

    def _check_fields(self, request: SignedRequest) -> None:
        if len(request.headers) != len(self.headers):
            raise ValidationError("headers", "hold a name twice")
        if not request.path.isascii() or not request.query.isascii():
            raise ValidationError("path", "holds characters that are not encoded")

    def _read_body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or len(lengths) > 1:
            raise ValidationError("body", "comes without one plain Content-Length")
        if not lengths:
            return b""
        if not re.fullmatch("[0-9]{1,9}", lengths[0]) or int(lengths[0]) > MAX_BODY_BYTES:
            raise ValidationError("body", f"is longer than {MAX_BODY_BYTES} bytes")
        data = self.rfile.read(int(lengths[0]))
        if len(data) != int(lengths[0]):
            raise ValidationError("body", "is shorter than its Content-Length")
        return data

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in _fields(response).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body)

    def send_error(self, code: int, message: Optional[str] = None, explain: Optional[str] = None) -> None:
        """What the base class says of a request that is no HTTP, or of another method: as JSON, too."""
        del explain
        self._send(error_response(ValidationError("request", message or "is no request of HTTP"))._replace(status=code))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        _log.debug(format, *args)


class _TimedReader(io.RawIOBase):
    """A socket's bytes until a point in time; a client that sends slowly cannot stretch it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("the request took too long")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


def _fields(response: Response) -> Dict[str, str]:
    return {
        **response.headers,
        "Content-Length": str(len(response.body)),
        "Connection": "close",
        "x-amzn-RequestId": str(uuid.uuid4()),
    }


def _turn_away(request: socket.socket) -> None:
    """ThrottlingException without reading the request: there is no thread for it."""
    response = error_response(ThrottlingError("request", "came while the server had too many others", "Try again."))
    lines = [f"HTTP/1.1 {response.status} Too Many Requests", *(f"{k}: {v}" for k, v in _fields(response).items())]
    try:
        request.settimeout(_LINGER_S)
        request.sendall("\r\n".join([*lines, "", ""]).encode() + response.body)
    except OSError:
        _log.debug("a client that was turned away did not wait for the answer", exc_info=True)
    _linger(request)


def _linger(connection: socket.socket) -> None:
    """Take in a little of what was not read: closing before that would take the answer away from the client."""
    deadline, left = time.monotonic() + _LINGER_S, 2 * MAX_BODY_BYTES
    try:
        connection.shutdown(socket.SHUT_WR)
        while left > 0 and time.monotonic() < deadline:
            connection.settimeout(_LINGER_S)
            count = len(connection.recv(_CHUNK))
            if not count:
                return
            left -= count
    except OSError:
        return


def _family(host: str) -> int:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise ConfigError(
            f"host {host}", "is no loopback address", "Use 127.0.0.1 or ::1, and a tunnel from elsewhere."
        )
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET
