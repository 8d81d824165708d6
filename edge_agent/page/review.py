"""The routes of the review: recorded images are looked for, shown, and judged by a person."""

from __future__ import annotations

import json
import re
import threading
from http import HTTPStatus
from typing import Any, Dict, Literal, Optional, Protocol
from urllib.parse import parse_qsl

import msgspec

from edge_agent.errors import ConfigError, EdgeAgentError, ImageGoneError, ReviewError
from edge_agent.inspection import BACKGROUND
from edge_agent.page.page import KINDS
from edge_agent.page.prints import Prints
from edge_agent.recorder import MAX_NOTE, Gallery, Query, Recorded, Verdict
from edge_agent.web import Answer, Request, words

_PATH = re.compile(r"/review(?:/(?P<lane>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<kind>frame|mask|thumbnail))?)?)?")

_MAX_TEXT = 200
_MAX_MOST = 100


class Recordings(Protocol):
    """What is recorded, and how it is reviewed; called from several threads. See Recorder."""

    def gallery(self) -> Gallery: ...

    def review(self, lane: str, name: str, verdict: Optional[Verdict], note: str) -> Recorded: ...


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The query of a search, as texts."""

    verdict: Literal["", "anomalous", "normal"] = ""
    found: str = msgspec.field(default="", name="class")
    reviewed: Literal["", "yes", "no"] = ""
    below: Optional[float] = None
    reason: str = msgspec.field(default="", name="for")
    since: Optional[float] = None
    until: Optional[float] = None
    before: str = ""
    most: int = 24

    def __post_init__(self) -> None:
        if self.below is not None and not 0 <= self.below <= 1:
            raise ValueError("`below` must be 0 to 1")
        if not 1 <= self.most <= _MAX_MOST:
            raise ValueError(f"`most` must be 1 to {_MAX_MOST}")
        if max(map(len, (self.found, self.reason, self.before))) > _MAX_TEXT:
            raise ValueError(f"a text has more than {_MAX_TEXT} characters")

    def query(self) -> Query:
        reviewed = None if not self.reviewed else self.reviewed == "yes"
        return Query(
            self.verdict or None, self.found, reviewed, self.below, self.reason, self.since, self.until, self.before,
            self.most,
        )  # fmt: skip


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """What a person says; a verdict of null takes the review back."""

    verdict: Optional[Literal["right", "wrong"]]
    note: str = ""

    def __post_init__(self) -> None:
        if len(self.note) > MAX_NOTE:
            raise ValueError(f"a note has at most {MAX_NOTE} characters")


class ReviewPages:
    """Answers from any thread.

    Args:
        recordings: of the inspector.
    """

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings
        self._prints = Prints()
        # A search takes a second of a large manifest: of several viewers one at a time.
        self._searching = threading.Lock()

    def answer(self, request: Request) -> Optional[Answer]:
        """None where the request is none of the review's."""
        path = _PATH.fullmatch(request.path)
        if path is None:
            return None
        lane, name, kind = path.group("lane"), path.group("name"), path.group("kind")
        judges = name is not None and kind is None
        if request.method != ("POST" if judges else "GET"):
            return words(HTTPStatus.METHOD_NOT_ALLOWED, "a review is a POST" if judges else "here is only GET")
        try:
            if lane is None:
                return self._overview()
            if name is None:
                return self._find(lane, request.query)
            return self._review(lane, name, request.body) if kind is None else self._picture(lane, name, kind)
        except (msgspec.MsgspecError, ValueError, EdgeAgentError) as error:
            return words(_status(error), str(error))

    def _overview(self) -> Answer:
        try:
            gallery = self._recordings.gallery()
        except ConfigError:
            return _json({"recording": False, "lanes": []})
        return _json({"recording": True, "lanes": gallery.lanes()})

    def _find(self, lane: str, query: str) -> Answer:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=len(_Asked.__struct_fields__))
        asked = msgspec.convert(dict(pairs), _Asked, strict=False)
        gallery = self._recordings.gallery()
        with self._searching:
            found = gallery.find(lane, asked.query())
        numbers = {key: getattr(found, key) for key in ("recorded", "matching", "right", "wrong", "classes", "reasons")}
        return _json({**numbers, "images": [_shown(image, gallery.inspection(image)) for image in found.images]})

    def _review(self, lane: str, name: str, body: bytes) -> Answer:
        said = msgspec.json.decode(body, type=_Said)
        image = self._recordings.review(lane, name, said.verdict, said.note)
        return _json(_shown(image, self._recordings.gallery().inspection(image)))

    def _picture(self, lane: str, name: str, kind: str) -> Answer:
        files = self._recordings.gallery().files(lane, name)
        developed = self._prints.of(lane, name, files, small=kind == "thumbnail")
        body = b"" if developed is None else getattr(developed, kind)
        if not body:
            return words(HTTPStatus.NOT_FOUND, f"there is no {kind} of {name}")
        return Answer(HTTPStatus.OK, KINDS[kind], body)


def _status(error: Exception) -> HTTPStatus:
    if not isinstance(error, EdgeAgentError):
        return HTTPStatus.BAD_REQUEST
    if isinstance(error, ImageGoneError):
        return HTTPStatus.NOT_FOUND
    return HTTPStatus.CONFLICT if isinstance(error, (ReviewError, ConfigError)) else HTTPStatus.SERVICE_UNAVAILABLE


def _shown(image: Recorded, inspection: Dict[str, Any]) -> Dict[str, Any]:
    """One image as the page has it."""
    review = image.review
    return {
        "name": image.name,
        "at_ms": image.at_ns // 1_000_000,
        "sequence": inspection.get("sequence"),
        "source": str(inspection.get("image", {}).get("source", "")),
        "anomalous": image.said_anomalous,
        "confidence": image.said_confidence,
        "classes": [found for found in inspection.get("anomalies", []) if found["name"] != BACKGROUND],
        "model": inspection.get("model", {}),
        "reason": image.reason,
        "label": image.label,
        "by_person": image.by_person,
        "review": None if review is None else {"verdict": review.verdict, "note": review.note},
    }


def _json(document: Dict[str, Any]) -> Answer:
    return Answer(HTTPStatus.OK, "application/json", json.dumps(document).encode())
