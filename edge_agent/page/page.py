"""The routes of the live page."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any, Dict, Optional, Protocol, Union

from edge_agent.clock import Clock
from edge_agent.page.album import Albums
from edge_agent.page.darkroom import Darkroom
from edge_agent.page.feed import Feed
from edge_agent.web import Answer, Request, StaticFiles, Stream, words

_PARTS = ("page.css", "page.js", "charts.js", "review.css", "review.js")
_FILES = StaticFiles(
    Path(__file__).parent / "static",
    {"/": "index.html", **{f"/{name}": name for name in _PARTS}},
)
_IMAGE = re.compile(r"/lanes/(?P<lane>[A-Za-z0-9_.-]{1,64})/(?P<kind>frame|mask|thumbnail)/(?P<sequence>\d{1,18})")
#: Media types of the pictures.
KINDS = {"frame": "image/jpeg", "mask": "image/png", "thumbnail": "image/jpeg"}


class PageSource(Protocol):
    """What the page shows and does; called from several threads."""

    def describe(self) -> Dict[str, Any]:
        """`lanes` by name, with state, camera, model, threshold and counts; `spool`, `delivery`, …, as JSON has it."""

    def command(self, payload: bytes) -> Dict[str, Any]:
        """Do a command in the form of docs/command.schema.json; the reply in that of docs/reply.schema.json."""


class LivePage:
    """Answers from any thread, between `open` and `close`.

    Args:
        albums: of the lanes.
        source: what it shows and does.
        clock: time.
    """

    def __init__(self, albums: Albums, source: PageSource, clock: Clock) -> None:
        self._albums = albums
        self._source = source
        self._feed = Feed(albums, source.describe, clock)
        self._darkroom = Darkroom(albums)

    def open(self) -> None:
        self._darkroom.open()

    def close(self) -> None:
        self._feed.close()
        self._darkroom.close()

    def answer(self, request: Request) -> Optional[Union[Answer, Stream]]:
        """None where the request is none of the page's."""
        if request.path == "/commands":
            return self._command(request)
        image = _IMAGE.fullmatch(request.path)
        if image is None and request.path not in _FILES and request.path not in ("/state", "/events"):
            return None
        if request.method != "GET":
            return words(HTTPStatus.METHOD_NOT_ALLOWED, "here is only GET")
        if image is not None:
            return self._image(image.group("lane"), image.group("kind"), int(image.group("sequence")))
        return self._look(request.path)

    def _look(self, path: str) -> Union[Answer, Stream]:
        if path == "/events":
            return Stream("text/event-stream", self._feed.listen())
        if path == "/state":
            return Answer(HTTPStatus.OK, "application/json", json.dumps(self._feed.everything()).encode())
        return _FILES.answer(path)

    def _command(self, request: Request) -> Answer:
        if request.method != "POST":
            return words(HTTPStatus.METHOD_NOT_ALLOWED, "a command is a POST")
        reply = self._source.command(request.body)
        return Answer(HTTPStatus.OK, "application/json", json.dumps(reply).encode())

    def _image(self, lane: str, kind: str, sequence: int) -> Answer:
        album = self._albums.all().get(lane)
        developed = None if album is None else album.one(sequence)
        body = b"" if developed is None else getattr(developed, kind)
        if not body:
            return words(HTTPStatus.NOT_FOUND, f"lane {lane} has no {kind} of {sequence} any more")
        return Answer(HTTPStatus.OK, KINDS[kind], body)
