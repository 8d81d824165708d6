"""A small HTTP server for pages and actions of one process, on loopback unless there is a token."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import stat
import threading
from pathlib import Path
from typing import Any, NamedTuple, Optional, Tuple, Union
from urllib.parse import urlsplit

from edge_agent.errors import ConfigError, WebError
from edge_agent.web.access import Access
from edge_agent.web.connections import Connections
from edge_agent.web.messages import Answer, Answering, Request, Stream

# At once: each holds a thread.
_CONNECTIONS = 16

# How often to look whether to end.
_LOOK_S = 0.1

_MIN_TOKEN = 16


class Tls(NamedTuple):
    """PEM files: the certificate, with those that vouch for it, and its key."""

    certificate: Path
    key: Path


class HttpServer:
    """Serves from `open` to `close`.

    Args:
        address: `HOST:PORT`, such as 127.0.0.1:9464 or [::1]:9464; port 0 takes a free one.
        answer: called by several threads at once; what it raises becomes an answer 500 and a line in the log.
        token: that each request must bear; without it only loopback addresses are served on.
        browsers: whether browsers may sign in: see Access.
        tls: to serve HTTPS; without it plain HTTP.
        connections: at once; one more is closed.

    Raises:
        ConfigError: no such form of an address, or the files for TLS cannot be used.
    """

    def __init__(
        self,
        address: str,
        answer: Answering,
        *,
        token: str = "",
        browsers: bool = False,
        tls: Optional[Tls] = None,
        connections: int = _CONNECTIONS,
    ) -> None:
        self._host, self._port = _host_and_port(address)
        self._answer = answer
        self._token = token
        self._access = Access(token, browsers=browsers, secure=tls is not None)
        self._tls = None if tls is None else _context(tls)
        self._connections = connections
        self._server: Optional[Connections] = None

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
            self._server = Connections(family, address, self._checked, self._tls, self._connections)
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

    def _checked(self, request: Request) -> Union[Answer, Stream]:
        return self._access.answer(request) or self._answer(request)


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


def _host_and_port(address: str) -> Tuple[str, int]:
    with contextlib.suppress(ValueError):
        parts = urlsplit(f"//{address}")
        # Both looks at the port raise ValueError where it is none.
        if parts.hostname and parts.port is not None and parts.netloc == address and "@" not in address:
            return parts.hostname, parts.port
    raise ConfigError(address, "is not of the form HOST:PORT", "Use, for example, 127.0.0.1:9464.")


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key that asks for a passphrase would ask on a terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = str(getattr(error, "strerror", "") or error)
        raise ConfigError(
            f"{tls.certificate}, {tls.key}",
            f"cannot be used for TLS ({reason})",
            "Give a certificate and its key as PEM files, the key without a passphrase.",
        ) from error
    return context


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
