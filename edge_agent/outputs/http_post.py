"""One signed POST after the other, on a connection that is kept."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
from typing import Dict, Optional, Sequence
from urllib.parse import urlsplit

from edge_agent.errors import OutputError, OutputNotConnectedError, OutputTimeoutError
from edge_agent.inspection import SCHEMA_VERSION

_HEAD, _TAIL = b'{"version":%d,"parts":[' % SCHEMA_VERSION, b"]}"
#: Bytes of a body beside its parts and the commas between them.
BODY_BYTES = len(_HEAD) + len(_TAIL)

_SIGNATURE = "X-Edge-Agent-Signature"
# Of an answer that is read, so that the connection can be used again; it says nothing to us.
_MAX_ANSWER = 65_536


def to_body(parts: Sequence[bytes]) -> bytes:
    """The body for parts in JSON."""
    return _HEAD + b",".join(parts) + _TAIL


def signature(secret: bytes, body: bytes, seconds: int) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256 over the seconds since 1970, a full stop and the body, so that an old body cannot
    be sent again by others.
    """
    digest = hmac.new(secret, b"%d." % seconds + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


class HttpPost:
    """Used by one thread.

    Args:
        url: http or https.
        timeout_s: seconds for connecting, and between two signs of life of the server.
        secret: bodies are signed with it; None: they are not.
        ca_file: certificates that the server's is checked against; empty: those of the system.

    Raises:
        OutputError: `ca_file` cannot be used.
    """

    def __init__(self, url: str, timeout_s: float, secret: Optional[bytes], ca_file: str) -> None:
        parts = urlsplit(url)
        self._subject = f"webhook {parts.scheme}://{parts.netloc}{parts.path}"
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secret = secret
        host = parts.hostname or ""
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=ca_file or None)
            except OSError as error:
                raise OutputError(ca_file, f"cannot be used ({error})", "Name a file of PEM certificates.") from error
            self._connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=timeout_s)

    def send(self, body: bytes, wall_ns: int) -> None:
        """Post it; returns when the server has said 2xx.

        Raises:
            OutputNotConnectedError, OutputTimeoutError: nobody there, no answer in time.
            OutputError: another status; a redirection is one.
        """
        headers: Dict[str, str] = {"Content-Type": "application/json", "User-Agent": "edge-agent"}
        if self._secret is not None:
            headers[_SIGNATURE] = signature(self._secret, body, wall_ns // 10**9)
        try:
            self._connection.request("POST", self._target, body, headers)
            answer = self._connection.getresponse()
            rest = answer.read(_MAX_ANSWER + 1)
        except socket.timeout as error:
            self.close()
            raise OutputTimeoutError(self._subject, "no answer in time") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OutputNotConnectedError(
                self._subject, f"cannot be reached ({str(error) or type(error).__name__})"
            ) from error
        if len(rest) > _MAX_ANSWER:
            self.close()
        if not 200 <= answer.status < 300:
            raise OutputError(self._subject, f"answers {answer.status} {answer.reason}")

    def close(self) -> None:
        """Any number of times."""
        self._connection.close()
