"""S3 and a Greengrass token exchange service on the loopback interface, as far as objects are put and got by boto3."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import io
import json
import re
import ssl
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Optional, Tuple, Type
from urllib.parse import parse_qs, unquote, urlsplit

Refusal = Tuple[int, str, str]


class S3:
    """Buckets and what is in them.

    Attributes:
        buckets: {name: {key: content}}.
        put: keys, each time that one is put, in their order.
        refusal: (status, code, message) that every request is answered with; None: none.
        sessions: session tokens that are taken; None: any, and none.
        on_put: called with each key before it is there; may raise, which ends the connection without an answer.
    """

    def __init__(self, *buckets: str) -> None:
        self.buckets: Dict[str, Dict[str, bytes]] = {name: {} for name in buckets}
        self.put: List[str] = []
        self.refusal: Optional[Refusal] = None
        self.sessions: Optional[List[str]] = None
        self.on_put: Callable[[str], None] = lambda _key: None

    def refuses(self, headers: Any, bucket: str) -> Optional[Refusal]:
        signed = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/[a-z0-9-]+/s3/", headers.get("Authorization", ""))
        if not signed:
            return 403, "AccessDenied", "Access Denied"
        if self.refusal:
            return self.refusal
        if self.sessions is not None and headers.get("X-Amz-Security-Token") not in self.sessions:
            return 400, "ExpiredToken", "The provided token has expired."
        return None if bucket in self.buckets else (404, "NoSuchBucket", "The specified bucket does not exist")


class _S3Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3: S3

    def do_PUT(self) -> None:
        bucket, key = self._place()
        body = self._body()
        refusal = self.s3.refuses(self.headers, bucket)
        if refusal:
            self._refuse(refusal)
            return
        try:
            self.s3.on_put(key)
        except ConnectionError:
            self.close_connection = True
            return
        self.s3.buckets[bucket][key] = body
        self.s3.put.append(key)
        self._answer(200, b"", ETag=_tag(body))

    def do_GET(self) -> None:
        bucket, key = self._place()
        refusal = self.s3.refuses(self.headers, bucket)
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query and not refusal:
            self._list(bucket, query.get("prefix", [""])[0])
            return
        body = None if refusal else self.s3.buckets[bucket].get(key)
        if refusal or body is None:
            self._refuse(refusal or (404, "NoSuchKey", "The specified key does not exist."))
        elif self.headers.get("If-None-Match") == _tag(body):
            self._answer(304, b"", ETag=_tag(body))
        else:
            self._answer(200, body, ETag=_tag(body))

    def _list(self, bucket: str, prefix: str) -> None:
        """ListObjectsV2, of at most a page."""
        found = {key: body for key, body in self.s3.buckets[bucket].items() if key.startswith(prefix)}
        entries = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-11-21T14:05:30.000Z</LastModified>"
            f"<ETag>{_tag(body)}</ETag><Size>{len(body)}</Size></Contents>"
            for key, body in sorted(found.items())
        )
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>{len(found)}</KeyCount>{entries}</ListBucketResult>"
        self._answer(200, text.encode())

    def _place(self) -> Tuple[str, str]:
        bucket, _, key = unquote(urlsplit(self.path).path)[1:].partition("/")
        return bucket, key

    def _body(self) -> bytes:
        """Over TLS botocore sends chunks of chunks: those of HTTP around those of S3, behind which its checksum is."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            body, _ = _dechunk(self.rfile)
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "aws-chunked":
            body, trailer = _dechunk(io.BytesIO(body))
            checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
            assert trailer == f"x-amz-checksum-crc32:{checksum}"
            assert len(body) == int(self.headers["X-Amz-Decoded-Content-Length"])
        return body

    def _refuse(self, refusal: Refusal) -> None:
        status, code, message = refusal
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        self._answer(status, text.encode())

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


class TokenExchange:
    """Hands out credentials as the token exchange service does.

    Attributes:
        token: that a component has to show.
        lifetime_s: of what is handed out from now on.
        given: session tokens, in their order.
        refusal: status that every request is answered with; None: none.
        answer: body of the answers that follow; None: credentials.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.lifetime_s = 3600.0
        self.given: List[str] = []
        self.refusal: Optional[int] = None
        self.answer: Optional[bytes] = None


class _TokenHandler(BaseHTTPRequestHandler):
    exchange: TokenExchange

    def do_GET(self) -> None:
        exchange = self.exchange
        allowed = self.headers.get("Authorization") == exchange.token
        status = exchange.refusal or (200 if allowed and self.path == "/2016-11-01/credentialprovider/" else 403)
        body = b"Failed to get connection"
        if status == 200:
            exchange.given.append(f"session-{len(exchange.given) + 1}")
            ends = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=exchange.lifetime_s)
            answer = {
                "AccessKeyId": "ASIAEXAMPLE",
                "SecretAccessKey": "the-secret-key",
                "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "Token": exchange.given[-1],
            }
            body = exchange.answer or json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def serve_s3(s3: S3, port: int = 0, certificate: Optional[Path] = None) -> Iterator[str]:
    """The address of an endpoint that is there while the context is; over TLS with a file of certificate and key."""
    with _served(type("Handler", (_S3Handler,), {"s3": s3}), port, certificate) as address:
        yield address


@contextlib.contextmanager
def serve_token_exchange(exchange: TokenExchange) -> Iterator[str]:
    """What a nucleus puts into AWS_CONTAINER_CREDENTIALS_FULL_URI."""
    with _served(type("Handler", (_TokenHandler,), {"exchange": exchange})) as address:
        yield f"{address}/2016-11-01/credentialprovider/"


@contextlib.contextmanager
def _served(handler: Type[BaseHTTPRequestHandler], port: int = 0, certificate: Optional[Path] = None) -> Iterator[str]:
    class Server(ThreadingHTTPServer):
        daemon_threads = True
        # A connection that a client keeps open must not keep a test.
        block_on_close = False

    with Server(("127.0.0.1", port), handler) as server:
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(str(certificate))
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _tag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'  # noqa: S324 - what S3 calls an ETag


def _dechunk(stream: BinaryIO) -> Tuple[bytes, str]:
    """What is in the chunks, and the line behind them."""
    body = b""
    while True:
        size = int(stream.readline().split(b";")[0], 16)
        if not size:
            break
        body += stream.read(size)
        stream.readline()
    trailer = stream.readline().strip()
    if trailer:
        stream.readline()
    return body, trailer.decode()
