"""Something done again and again on a thread of its own."""

from __future__ import annotations

import logging
import threading
from typing import Callable

from edge_agent.clock import Clock

_log = logging.getLogger(__name__)


class Ticker:
    """Calls `tick` every so often, and at once when it is woken; a fault of ours is logged, and the next tick comes."""

    def __init__(self, name: str, tick: Callable[[], None], seconds: float, clock: Clock) -> None:
        self._name = name
        self._tick = tick
        self._seconds = seconds
        self._clock = clock
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def close(self, timeout: float) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self._tick()
            except Exception as error:  # noqa: BLE001 - see the class
                if self._said != repr(error):
                    self._said = repr(error)
                    _log.exception("%s: an internal error", self._name)
            self._clock.wait(self._wake, self._seconds)
