"""Signals on a thread of their own.

A Python signal handler runs in the middle of whatever the main thread does, so it may not take a lock. Here the handler
only puts the signal into a SimpleQueue, which may be done at any moment, and a thread does the rest.
"""

from __future__ import annotations

import queue
import signal
import threading
from typing import Callable, Mapping


def on_signals(actions: Mapping[signal.Signals, Callable[[], None]]) -> None:
    """Call the action of each signal that comes, one after the other. To be called on the main thread."""
    arrived: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()

    def serve() -> None:
        while True:
            actions[arrived.get()]()

    threading.Thread(target=serve, name="signals", daemon=True).start()
    for number in actions:
        signal.signal(number, lambda received, _frame: arrived.put(signal.Signals(received)))
