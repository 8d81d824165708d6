"""Who may ask an HTTP server of ours: who bears its token, and browsers that brought it to /login once."""

from __future__ import annotations

import hashlib
import hmac
import json
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

from edge_agent.web.messages import Answer, Request, words
from edge_agent.web.static_files import StaticFiles

LOGIN = "/login"

_COOKIE = "edge-agent"
_FILES = StaticFiles(
    Path(__file__).parent / "static", {LOGIN: "login.html", "/login.js": "login.js", "/login.css": "login.css"}
)


class Access:
    """Answers from any thread.

    Args:
        token: that a request must bear; empty: everybody may ask.
        browsers: whether browsers may sign in at /login; they get a cookie that holds no token, which scripts cannot
            read and no other site's request carries.
        secure: whether the cookie is for TLS only.
    """

    def __init__(self, token: str, *, browsers: bool = False, secure: bool = False) -> None:
        self._token = token
        self._browsers = browsers
        self._secure = secure
        self._cookie = hmac.new(token.encode(), b"edge-agent browser cookie", hashlib.sha256).hexdigest()

    def answer(self, request: Request) -> Optional[Answer]:
        """None where the request may pass; else what it gets instead."""
        if self._browsers and request.path in _FILES:
            return self._login(request)
        if not self._token or _same(request.authorization, f"Bearer {self._token}"):
            return None
        if self._browsers and self._has_cookie(request):
            # The cookie stays at home already (SameSite); this holds for browsers that do not know the word.
            if request.method == "GET" or request.origin in ("", _own_origin(request, secure=self._secure)):
                return None
            return words(HTTPStatus.FORBIDDEN, "another site asks")
        if self._browsers and request.method == "GET" and "text/html" in request.accept:
            return Answer(HTTPStatus.SEE_OTHER, "text/plain", b"", (("Location", LOGIN),))
        return words(HTTPStatus.UNAUTHORIZED, "this needs the header `Authorization: Bearer TOKEN`")

    def _login(self, request: Request) -> Answer:
        if request.method == "GET":
            return _FILES.answer(request.path)
        if request.path != LOGIN:
            return words(HTTPStatus.METHOD_NOT_ALLOWED, "here is only GET")
        try:
            given = json.loads(request.body)["token"]
        except (ValueError, TypeError, KeyError):
            given = None
        if not isinstance(given, str) or not _same(given, self._token):
            return words(HTTPStatus.UNAUTHORIZED, "this is not the token")
        cookie = f"{_COOKIE}={self._cookie}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if self._secure else ''}"
        return Answer(HTTPStatus.OK, "application/json", b'{"status":"ok"}\n', (("Set-Cookie", cookie),))

    def _has_cookie(self, request: Request) -> bool:
        try:
            found = SimpleCookie(request.cookie).get(_COOKIE)
        except CookieError:
            return False
        return found is not None and _same(found.value, self._cookie)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _own_origin(request: Request, *, secure: bool) -> str:
    return f"{'https' if secure else 'http'}://{urlsplit(f'//{request.host}').netloc}"
