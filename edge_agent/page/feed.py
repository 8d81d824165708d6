"""What changes on the page, told to every viewer: made once, however many look."""

from __future__ import annotations

import json
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator, Tuple

from edge_agent.clock import Clock
from edge_agent.page.album import SCORES, STRIP, Albums

# Changes are gathered for so long. A crowd costs the line no more than ten do: so many are told each time, by turns.
_EVERY_S = 0.25
_AT_ONCE = 10

# A change is told when a part has just been inspected, if one comes so soon: a quick line has time until the next one, and
# what the viewers then ask for is not asked in the midst of a part.
_PART_S = 0.1

# A viewer hears something at least so often, and notices that the inspector has gone.
_SIGN_S = 5.0

# A viewer that is further behind is told to look at everything anew; so the memory does not grow with slow ones.
_KEPT = 24

# Without a viewer nothing is made. The thread ends so long after the last one went.
_LINGER_TURNS = 40

_COURSE = 3

#: Gives what the page shows beside the albums, as JSON has it.
Describe = Callable[[], Dict[str, Any]]


class Feed:
    """Safe to use from any thread; its own thread runs while somebody listens.

    Args:
        albums: of the lanes.
        describe: lanes with their states and counts, spool, delivery.
        clock: time.
    """

    def __init__(self, albums: Albums, describe: Describe, clock: Clock) -> None:
        self._albums = albums
        self._describe = describe
        self._clock = clock
        self._changed = threading.Condition()
        self._messages: Deque[Tuple[int, bytes]] = deque(maxlen=_KEPT)
        self._id = 0
        self._numbers: Dict[str, int] = {}
        self._listeners = 0
        self._came = 0
        self._running = False
        self._closed = threading.Event()

    def everything(self) -> Dict[str, Any]:
        """The whole page as JSON has it; `id` is that of the newest change in it."""
        with self._changed:
            newest = self._id
        document = self._describe()
        for name, album in self._albums.all().items():
            if name in document["lanes"]:
                album.watch(_EVERY_S)
                document["lanes"][name]["album"] = {
                    **album.since(0, STRIP),
                    "scores": album.scores(),
                    "course": album.course(SCORES),
                }
        return {**document, "id": newest}

    def listen(self) -> Iterator[bytes]:
        """Server-sent events (HTML Living Standard, section 9.2) until `close`; the generator's end is the viewer's."""
        with self._changed:
            self._listeners += 1
            self._came += 1
            number, seen = self._came, self._id
            if not self._running and not self._closed.is_set():
                self._running = True
                threading.Thread(target=self._make, name="page-feed", daemon=True).start()
        try:
            yield b"retry: 1000\n\n"
            while not self._closed.is_set():
                with self._changed:
                    turns = self._turns()
                    due = seen + 1 + (number - seen - 1) % turns
                    self._changed.wait_for(lambda first=due: self._id >= first or self._closed.is_set(), _SIGN_S)  # type: ignore[misc]
                    new = [message for message in self._messages if message[0] > seen]
                    missed = bool(new) and new[0][0] > seen + 1
                if missed:
                    yield b"event: reset\ndata: {}\n\n"
                for change, message in new:
                    if not missed:
                        yield message
                    seen = change
                if not new:
                    yield b": still here\n\n"
        finally:
            with self._changed:
                self._listeners -= 1

    def listeners(self) -> int:
        with self._changed:
            return self._listeners

    def close(self) -> None:
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    def _make(self) -> None:
        alone = 0
        while not self._clock.wait(self._closed, _EVERY_S):
            with self._changed:
                alone = 0 if self._listeners else alone + 1
                if alone >= _LINGER_TURNS:
                    self._running = False
                    return
            self._albums.wait(_PART_S)
            message = self._message()
            with self._changed:
                self._id += 1
                self._messages.append((self._id, b"event: change\nid: %d\ndata: %s\n\n" % (self._id, message)))
                self._changed.notify_all()

    def _turns(self) -> int:
        return -(-self._listeners // _AT_ONCE)

    def _message(self) -> bytes:
        document = self._describe()
        with self._changed:
            # No more pictures than a viewer hears of.
            pace_s = _EVERY_S * max(1, self._turns())
        for name, album in self._albums.all().items():
            if name in document["lanes"]:
                album.watch(pace_s)
                news = album.since(self._numbers.get(name, 0), SCORES)
                self._numbers[name] = news["number"]
                document["lanes"][name]["album"] = {**news, "course": album.course(_COURSE)}
        return json.dumps(document, separators=(",", ":")).encode()
