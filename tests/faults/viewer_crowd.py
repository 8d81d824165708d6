"""A crowd at the live page, in a process of its own: python viewer_crowd.py ADDRESS TOKEN_FILE VIEWERS STALLED.

Each viewer listens to the changes and fetches each new picture, large and small, as a browser does. A stalled one asks for
the changes and reads nothing. A line is printed when each of them looks, another with what they saw when the standard
input ends.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Dict

_TIMEOUT_S = 30.0


class Crowd:
    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}"}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._looking = threading.Semaphore(0)
        self._seen: "Counter[str]" = Counter()

    def view(self) -> None:
        """Come again where the connection is lost, as a browser does."""
        while not self._end.is_set():
            try:
                self._listen()
            except (OSError, http.client.HTTPException):
                self._count("connections lost")
                self._end.wait(1)

    def stall(self) -> None:
        """Ask, and read nothing; come again when that is ended."""
        while not self._end.is_set():
            host, _, port = self._address.rpartition(":")
            with contextlib.suppress(OSError), socket.socket() as connection:
                # Little room, so that what is not read soon is in the server's way.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect((host, int(port)))
                connection.sendall(
                    f"GET /events HTTP/1.0\r\nAuthorization: {self._headers['Authorization']}\r\n\r\n".encode()
                )
                self._count("stalled")
                self._looking.release()
                self._end.wait(_TIMEOUT_S)

    def wait_for(self, viewers: int) -> None:
        """Until so many look: have seen a picture, or stall."""
        for _ in range(viewers):
            self._looking.acquire()

    def end(self) -> None:
        self._end.set()

    def seen(self) -> Dict[str, int]:
        with self._lock:
            return dict(self._seen)

    def _listen(self) -> None:
        shown: Dict[str, int] = {}
        looks = False
        with contextlib.closing(self._connection()) as events, contextlib.closing(self._connection()) as pictures:
            events.request("GET", "/events", headers=self._headers)
            answer = events.getresponse()
            while not self._end.is_set():
                line = answer.readline()
                if not line:
                    raise http.client.HTTPException("the stream ended")
                if line.startswith(b"event: reset"):
                    self._count("resets")
                if line.startswith(b"data: {") and len(line) > len(b"data: {}\n"):
                    self._count("changes")
                    self._show(json.loads(line[6:]), shown, pictures)
                if shown and not looks:
                    looks = True
                    self._looking.release()

    def _show(self, change: Dict[str, Any], shown: Dict[str, int], pictures: http.client.HTTPConnection) -> None:
        for lane, state in change["lanes"].items():
            newest = state.get("album", {}).get("newest")
            if newest is None or shown.get(lane) == newest:
                continue
            shown[lane] = newest
            for kind in ("frame", "thumbnail"):
                # Over the same connection again and again, for as long as the server keeps it.
                pictures.request("GET", f"/lanes/{lane}/{kind}/{newest}", headers=self._headers)
                answer = pictures.getresponse()
                answer.read()
                self._count("pictures" if answer.status == http.client.OK else "pictures that were gone")

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address, timeout=_TIMEOUT_S)

    def _count(self, what: str) -> None:
        with self._lock:
            self._seen[what] += 1


def main() -> None:
    address, token_file, viewers, stalled = sys.argv[1:]
    crowd = Crowd(address, Path(token_file).read_text().strip())
    for number in range(int(viewers)):
        threading.Thread(target=crowd.stall if number < int(stalled) else crowd.view, daemon=True).start()
    crowd.wait_for(int(viewers))
    print("looking", flush=True)  # noqa: T201 - what this program is for
    sys.stdin.read()
    crowd.end()
    print(json.dumps(crowd.seen()))  # noqa: T201 - what this program is for


if __name__ == "__main__":
    main()
