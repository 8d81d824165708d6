"""What viewers are told: the same to all, made once, and no memory for those who do not listen."""

from __future__ import annotations

import json
import threading
import time
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from page.conftest import make_frame, make_inspection

from edge_agent.clock import SystemClock
from edge_agent.page.album import Albums
from edge_agent.page.feed import _AT_ONCE, _KEPT, Feed


class Line:
    def __init__(self) -> None:
        self.albums = Albums(SystemClock())
        self.asked = 0
        self.feed = Feed(self.albums, self._describe, SystemClock())

    def _describe(self) -> Dict[str, Any]:
        self.asked += 1
        return {"lanes": {"a": {"state": "running"}}}

    def inspect(self, sequence: int) -> None:
        self.albums.of("a").look(make_frame(sequence, 64, 64), make_inspection(sequence), lambda: None)


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.feed.close()


def changes(chunks: Iterator[bytes]) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """Event and data of each that is no comment."""
    for chunk in chunks:
        fields = dict(line.split(": ", 1) for line in chunk.decode().splitlines() if line and not line.startswith(":"))
        if "event" in fields:
            yield fields["event"], json.loads(fields["data"])


def test_nothing_is_made_while_nobody_listens(line: Line) -> None:
    line.inspect(1)
    before = threading.active_count()
    assert line.asked == 0
    assert line.feed.listeners() == 0
    assert before == threading.active_count()


def test_each_part_is_told_once_and_to_all(line: Line) -> None:
    line.inspect(1)
    heard: List[List[int]] = [[], []]

    def listen(into: List[int]) -> None:
        for event, document in changes(line.feed.listen()):
            assert event == "change"
            into.extend(entry["sequence"] for entry in document["lanes"]["a"]["album"]["entries"])
            if 20 in into:
                return

    viewers = [threading.Thread(target=listen, args=(into,)) for into in heard]
    for viewer in viewers:
        viewer.start()
    while line.feed.listeners() < 2:
        time.sleep(0.01)
    for sequence in range(2, 21):
        line.inspect(sequence)
    for viewer in viewers:
        viewer.join(20)
    assert [into[-19:] for into in heard] == [list(range(2, 21))] * 2


def test_one_who_falls_behind_is_told_to_look_anew(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.page.feed._EVERY_S", 0.02)
    monkeypatch.setattr("edge_agent.page.feed._PART_S", 0.01)
    slow = line.feed.listen()
    next(slow)  # it listens now
    quick = changes(line.feed.listen())
    for _ in range(_KEPT + 4):
        assert next(quick)[0] == "change"
    assert next(changes(slow))[0] == "reset"
    assert len(line.feed._messages) == _KEPT


def test_the_whole_has_what_a_change_would_have(line: Line) -> None:
    for sequence in range(1, 4):
        line.inspect(sequence)
    whole = line.feed.everything()
    album = whole["lanes"]["a"]["album"]
    assert [entry["sequence"] for entry in album["entries"]] == [1, 2, 3]
    assert album["number"] == 3
    assert len(album["scores"]) == 3
    assert sum(second[1] for second in album["course"]) == 3


def test_it_ends_with_the_last_listener(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.page.feed._LINGER_TURNS", 1)
    viewer = line.feed.listen()
    next(changes(viewer))
    viewer.close()  # type: ignore[attr-defined]
    assert line.feed.listeners() == 0
    deadline = time.monotonic() + 10
    while any(thread.name == "page-feed" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert next(changes(line.feed.listen()))[0] == "change"


def test_of_a_crowd_ten_are_told_at_once_and_all_hear_everything(line: Line) -> None:
    viewers = 4 * _AT_ONCE
    heard: List[List[Tuple[float, int]]] = [[] for _ in range(viewers)]
    begun = threading.Barrier(viewers + 1)

    def listen(into: List[Tuple[float, int]]) -> None:
        chunks = line.feed.listen()
        next(chunks)
        begun.wait(20)
        for _, document in changes(chunks):
            now = time.monotonic()
            into.extend((now, entry["sequence"]) for entry in document["lanes"]["a"]["album"]["entries"])
            if into and into[-1][1] >= 30:
                return

    threads = [threading.Thread(target=listen, args=(into,)) for into in heard]
    for thread in threads:
        thread.start()
    begun.wait(20)
    for sequence in range(1, 41):
        line.inspect(sequence)
        time.sleep(0.1)
    for thread in threads:
        thread.join(20)
    assert all([sequence for _, sequence in each][:30] == list(range(1, 31)) for each in heard)
    # By whom a part was heard of within a tenth of a second.
    moments = sorted(next(now for now, sequence in each if sequence == 20) for each in heard)
    assert max(sum(0 <= other - moment < 0.1 for other in moments) for moment in moments) <= 2 * _AT_ONCE


def test_listeners_go_when_it_closes(line: Line) -> None:
    done = threading.Event()

    def listen() -> None:
        for _ in line.feed.listen():
            pass
        done.set()

    threading.Thread(target=listen, daemon=True).start()
    while not line.feed.listeners():
        time.sleep(0.01)
    line.feed.close()
    assert done.wait(5)
