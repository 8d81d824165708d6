"""Browsers at an HTTP server of ours: signing in, TLS, streams, and other sites' pages."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import socket
import ssl
import subprocess
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

import pytest

from edge_agent.errors import ConfigError
from edge_agent.web import Answer, HttpServer, Request, Stream, Tls, words

TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - a test's


class Site:
    """A server that counts the actions that were let through, and streams for as long as one listens."""

    def __init__(self, **options: Any) -> None:
        self.actions: List[bytes] = []
        self.ended = threading.Event()
        self.chunks: "queue.Queue[bytes]" = queue.Queue()
        self.server = HttpServer("127.0.0.1:0", self._answer, token=TOKEN, browsers=True, **options)
        self.server.open()
        host, _, port = self.server.address.rpartition(":")
        self.host, self.port = host, int(port)

    def _answer(self, request: Request) -> Union[Answer, Stream]:
        if request.path == "/stream":
            return Stream("text/event-stream", self._stream())
        if request.method == "POST":
            self.actions.append(request.body)
        return words(HTTPStatus.OK, "passed")

    def _stream(self) -> Iterator[bytes]:
        try:
            while True:
                yield self.chunks.get()
        finally:
            self.ended.set()

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: Optional[bytes] = None,
        context: Optional[ssl.SSLContext] = None,
        **headers: str,
    ) -> Tuple[int, Dict[str, str], bytes]:
        with contextlib.closing(self.connection(context, timeout=10)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def connection(self, context: Optional[ssl.SSLContext], timeout: float) -> http.client.HTTPConnection:
        if context is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=context)

    def sign_in(self, **options: Any) -> str:
        """The cookie, as a browser sends it back."""
        code, headers, _ = self.ask("/login", "POST", json.dumps({"token": TOKEN}).encode(), **options)
        assert code == HTTPStatus.OK
        return headers["Set-Cookie"].partition(";")[0]


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.close()


def test_a_browser_is_led_to_the_sign_in_and_a_program_told_what_to_send(site: Site) -> None:
    code, headers, _ = site.ask("/", Accept="text/html,*/*")
    assert (code, headers["Location"]) == (HTTPStatus.SEE_OTHER, "/login")
    code, headers, body = site.ask("/state", Accept="application/json")
    assert code == HTTPStatus.UNAUTHORIZED
    assert b"Authorization: Bearer" in body
    assert site.ask("/state", Authorization=f"Bearer {TOKEN}")[0] == HTTPStatus.OK


@pytest.mark.parametrize("path", ["/login", "/login.js", "/login.css"])
def test_the_sign_in_is_there_for_everybody(site: Site, path: str) -> None:
    code, headers, body = site.ask(path)
    assert code == HTTPStatus.OK
    assert len(body) > 100
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_token_is_changed_for_a_cookie_that_does_not_hold_it(site: Site) -> None:
    code, headers, _ = site.ask("/login", "POST", json.dumps({"token": TOKEN}).encode())
    assert code == HTTPStatus.OK
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Strict" in headers["Set-Cookie"]
    assert TOKEN not in headers["Set-Cookie"]
    cookie = headers["Set-Cookie"].partition(";")[0]
    assert site.ask("/state", Cookie=cookie)[0] == HTTPStatus.OK
    assert site.ask("/state", Cookie=cookie[:-1])[0] == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{}", b'{"token":7}', b'{"token":""}', b'{"token":"\\ud800"}', b'{"token":"wrong"}']
)
def test_what_is_not_the_token_gets_no_cookie(site: Site, body: bytes) -> None:
    code, headers, _ = site.ask("/login", "POST", body)
    assert code == HTTPStatus.UNAUTHORIZED
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("cookie", ["edge-agent=", "edge-agent", "=;=", "edge-agent=\xe4", 'edge-agent="a;b'])
def test_a_strange_cookie_is_none(site: Site, cookie: str) -> None:
    assert site.ask("/state", Cookie=cookie)[0] == HTTPStatus.UNAUTHORIZED


def test_another_sites_page_can_do_nothing_with_the_cookie(site: Site) -> None:
    cookie = site.sign_in()
    own = f"http://{site.host}:{site.port}"
    assert site.ask("/act", "POST", b"{}", Cookie=cookie, Origin=own)[0] == HTTPStatus.OK
    assert site.ask("/act", "POST", b"{}", Cookie=cookie, Origin="http://elsewhere.example")[0] == HTTPStatus.FORBIDDEN
    assert site.ask("/act", "POST", b"{}", Cookie=cookie, Origin="null")[0] == HTTPStatus.FORBIDDEN
    assert len(site.actions) == 1


def kept(site: Site, context: Optional[ssl.SSLContext] = None) -> http.client.HTTPConnection:
    """A connection that has had its first answer and is open."""
    # Less than the seconds after which a silent one is closed anyway.
    connection = site.connection(context, timeout=3)
    connection.request("GET", "/state", headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    assert json.loads(answer.read()) == {"status": "passed"}
    return connection


def ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed it, or does so soon."""
    assert connection.sock is not None
    try:
        return connection.sock.recv(1) == b""
    except ssl.SSLError:  # an alert says that it ends
        return True


def test_a_connection_has_one_request_after_the_other(site: Site) -> None:
    with contextlib.closing(kept(site)) as connection:
        own = connection.sock
        headers = {"Authorization": f"Bearer {TOKEN}"}
        for path, method, body in (("/act", "POST", b"{}"), ("/state", "GET", None), ("/act", "POST", b"[1]")):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())) == (HTTPStatus.OK, {"status": "passed"})
        assert connection.sock is own
    assert site.actions == [b"{}", b"[1]"]


@pytest.mark.parametrize("head", ["Content-Length: 40", "Transfer-Encoding: chunked"])
def test_what_follows_a_request_without_a_body_is_not_taken_for_another(site: Site, head: str) -> None:
    with socket.create_connection((site.host, site.port), timeout=3) as client:
        inner = f"POST /act HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
        outer = f"GET /state HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n{head}\r\n\r\n"
        client.sendall((outer + inner).encode())
        got = b""
        with contextlib.suppress(ConnectionResetError):  # what was not read
            while True:
                more = client.recv(4096)
                if not more:
                    break
                got += more
        assert got.count(b"HTTP/1.1") <= 1
    assert site.actions == []


def test_a_server_that_closes_ends_the_connections_that_it_kept(site: Site) -> None:
    with contextlib.closing(kept(site)) as connection:
        site.server.close()
        assert ended(connection)


def test_with_few_places_left_no_connection_is_kept() -> None:
    site = Site(connections=4)
    try:
        with contextlib.closing(kept(site)) as one, contextlib.closing(kept(site)) as two:
            answer = site.ask("/state", Authorization=f"Bearer {TOKEN}")
            assert answer[1]["Connection"] == "close"
            assert one.sock is not None
            assert two.sock is not None
    finally:
        site.server.close()


def test_a_stream_comes_as_it_is_made_and_ends_with_its_listener(site: Site) -> None:
    with socket.create_connection((site.host, site.port), timeout=10) as client:
        client.sendall(f"GET /stream HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        site.chunks.put(b"data: 1\n\n")
        got = b""
        while b"data: 1\n\n" not in got:
            got += client.recv(4096)
        assert b"text/event-stream" in got
        assert b"Content-Length" not in got
    for _ in range(3):  # the first write to a closed connection may still go through
        site.chunks.put(b"data: 2\n\n")
    assert site.ended.wait(10)


def test_a_listener_that_takes_nothing_is_let_go(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.web.connections._Handler.timeout", 0.5)
    with socket.create_connection((site.host, site.port), timeout=10) as client:
        client.sendall(f"GET /stream HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        for _ in range(64):
            site.chunks.put(b"x" * 1_000_000)
        assert site.ended.wait(10)


def test_one_connection_too_many_is_closed_and_the_next_served() -> None:
    site = Site(connections=1)
    try:
        with socket.create_connection((site.host, site.port), timeout=10) as first:
            first.sendall(f"GET /stream HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
            site.chunks.put(b"data\n\n")
            while b"data" not in first.recv(4096):
                pass
            with pytest.raises(OSError):
                site.ask("/state", Authorization=f"Bearer {TOKEN}")
        for _ in range(3):
            site.chunks.put(b"data\n\n")
        assert site.ended.wait(10)
        until_served(site)
    finally:
        site.server.close()


def until_served(site: Site) -> None:
    for _ in range(100):
        try:
            assert site.ask("/state", Authorization=f"Bearer {TOKEN}")[0] == HTTPStatus.OK
        except OSError:
            threading.Event().wait(0.05)
        else:
            return
    pytest.fail("the place of a connection that ended was not given to another")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    directory = tmp_path_factory.mktemp("tls")
    files = Tls(directory / "certificate.pem", directory / "key.pem")
    subprocess.run(
        [
            "/usr/bin/openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            str(files.key),
            "-out",
            str(files.certificate),
        ],
        check=True,
        capture_output=True,
    )
    return files


def test_over_tls_the_cookie_is_for_tls_alone(certificate: Tls) -> None:
    site = Site(tls=certificate)
    try:
        context = ssl.create_default_context(cafile=str(certificate.certificate))
        cookie = site.sign_in(context=context)
        code, _, body = site.ask("/state", context=context, Cookie=cookie)
        assert (code, json.loads(body)) == (HTTPStatus.OK, {"status": "passed"})
        own = f"https://{site.host}:{site.port}"
        assert site.ask("/act", "POST", b"{}", context=context, Cookie=cookie, Origin=own)[0] == HTTPStatus.OK
        answer = site.ask("/login", "POST", json.dumps({"token": TOKEN}).encode(), context=context)
        assert "Secure" in answer[1]["Set-Cookie"]
        with pytest.raises(OSError):
            site.ask("/state")
        assert site.ask("/state", context=context, Cookie=cookie)[0] == HTTPStatus.OK
        with contextlib.closing(kept(site, context)) as connection:
            site.server.close()
            assert ended(connection)
    finally:
        site.server.close()


def test_files_that_are_no_certificate_are_named(certificate: Tls, tmp_path: Path) -> None:
    for wrong in (tmp_path / "none.pem", certificate.key):
        with pytest.raises(ConfigError, match="cannot be used for TLS") as refused:
            Site(tls=Tls(wrong, certificate.key))
        assert str(wrong) in str(refused.value)
