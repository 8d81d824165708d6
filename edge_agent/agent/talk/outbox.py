"""What the inspector says beside its inspections: bounded, paced, and never in the way of them."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Optional

from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.errors import IpcError, IpcUnavailableError
from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.session import NucleusSession
from edge_agent.outage import Outage

_log = logging.getLogger(__name__)

_LOOK_S = 0.2

#: Messages that may wait.
CAPACITY = 64

# Nucleus lite has 15,000 bytes and 10 messages under way at most, of all components; inspections come first.
_BYTES_PER_S = 48_000
_BETWEEN_S = 0.05

Send = Callable[[IpcClient], None]


@dataclass(eq=False)
class _Item:
    name: str
    send: Send
    size: int
    give_up_ns: int
    done: Optional[Callable[[Optional[IpcError]], None]]
    backoff: Backoff = field(default_factory=Backoff)
    not_before_ns: int = 0


class Outbox:
    """Sends what is put into it, in order where nothing fails, on a thread of its own. Safe to use from any thread.

    Args:
        session: the nucleus.
        clock: time.
    """

    def __init__(self, session: NucleusSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._changed = threading.Condition()
        self._items: List[_Item] = []
        self._stop = threading.Event()
        self._lost: Counter[str] = Counter()
        self._outages: Dict[str, Outage] = {}
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(
        self,
        name: str,
        send: Send,
        *,
        size: int = 0,
        keep_s: float = 0.0,
        newest_only: bool = False,
        done: Optional[Callable[[Optional[IpcError]], None]] = None,
    ) -> bool:
        """Have `send(client)` called; false when too much waits already, which is counted.

        Args:
            name: of its kind, for log and counts.
            send: may raise IpcError; then it is called again, with back-off.
            size: bytes, for the pace.
            keep_s: seconds after which it is given up; 0: one try, and no word in the log when that fails.
            newest_only: goes in the place of one of the same name that still waits.
            done: called with None when it was sent, or with why it was given up.
        """
        item = _Item(name, send, size, self._clock.monotonic_ns() + round(keep_s * 1e9), done)
        with self._changed:
            if newest_only:
                for index, waiting in enumerate(self._items):
                    if waiting.name == name:
                        self._items[index] = item
                        return True
            if len(self._items) >= CAPACITY:
                self._lost[name] += 1
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def lost(self) -> Dict[str, int]:
        """What was given up or found no room, by name."""
        with self._changed:
            return dict(self._lost)

    def close(self, timeout: float) -> None:
        """Send what can be sent at once, and end, within `timeout` seconds."""
        end_ns = self._clock.monotonic_ns() + round(timeout * 1e9)
        with self._changed:
            while self._items and self._session.connected():
                left = (end_ns - self._clock.monotonic_ns()) / 1e9
                if left <= 0:
                    break
                self._changed.wait(min(left, 0.05))
            self._stop.set()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(max(0.0, (end_ns - self._clock.monotonic_ns()) / 1e9))

    def _run(self) -> None:
        while not self._stop.is_set():
            item = self._next()
            if item is None:
                continue
            try:
                self._session.call(item.send)
            except IpcError as error:
                self._failed(item, error)
            except Exception as error:  # noqa: BLE001 - one message that cannot be sent must not end all others
                _log.exception("%s: an internal error", item.name)
                self._give_up(item, IpcError(item.name, f"an internal error ({error})"))
            else:
                self._outage(item.name).over()
                self._remove(item)
                if item.done is not None:
                    item.done(None)
                self._clock.wait(self._stop, _BETWEEN_S + item.size / _BYTES_PER_S)

    def _next(self) -> Optional[_Item]:
        """The first that is due; it stays in its place until it is settled."""
        with self._changed:
            now_ns = self._clock.monotonic_ns()
            due = next((item for item in self._items if item.not_before_ns <= now_ns), None)
            if due is None:
                self._changed.wait(_LOOK_S if not self._items else _LOOK_S / 4)
            return due

    def _failed(self, item: _Item, error: IpcError) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns >= item.give_up_ns:
            self._give_up(item, error)
            return
        item.not_before_ns = now_ns + round(item.backoff.next() * 1e9)
        if not isinstance(error, IpcUnavailableError):  # that one the session tells
            self._outage(item.name).report(error)

    def _give_up(self, item: _Item, error: IpcError) -> None:
        self._remove(item)
        with self._changed:
            self._lost[item.name] += 1
        if item.done is not None:
            item.done(error)

    def _remove(self, item: _Item) -> None:
        with self._changed:
            if item in self._items:
                self._items.remove(item)
            self._changed.notify_all()

    def _outage(self, name: str) -> Outage:
        return self._outages.setdefault(name, Outage(_log, name))
