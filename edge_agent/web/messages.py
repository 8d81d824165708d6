"""What an HTTP server of ours is asked, and what it answers."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Callable, Iterator, NamedTuple, Tuple, Union

_JSON = "application/json"


class Request(NamedTuple):
    """`path` is without its `query`; `body` is empty with GET; the rest are headers, empty where they were not sent."""

    method: str
    path: str
    accept: str
    body: bytes
    authorization: str = ""
    cookie: str = ""
    origin: str = ""
    host: str = ""
    query: str = ""


class Answer(NamedTuple):
    """`kind` is the media type; `headers` are sent beside those that each answer has."""

    status: HTTPStatus
    kind: str
    body: bytes
    headers: Tuple[Tuple[str, str], ...] = ()


class Stream(NamedTuple):
    """An answer whose end is not known yet. Its chunks are closed when the client went or was too slow."""

    kind: str
    chunks: Iterator[bytes]


Answering = Callable[[Request], Union[Answer, Stream]]


def words(status: HTTPStatus, text: str, **more: Any) -> Answer:
    """An answer as a JSON object whose `status` is a text."""
    return Answer(status, _JSON, json.dumps({"status": text, **more}).encode() + b"\n")
