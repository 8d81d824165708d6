"""Signals on a thread of their own.

A Python signal handler runs on the main thread alone, in the middle of what it does, so it may not take a lock; and a
main thread that is just about to block misses it until something else wakes it. The interpreter's wake-up pipe has
neither fault: a thread reads the signals from it and may do anything.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Callable, Mapping


def on_signals(actions: Mapping[signal.Signals, Callable[[], None]]) -> None:
    """Call the action of each signal that comes, one after the other. To be called once, on the main thread."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def serve() -> None:
        while True:
            for number in os.read(reader, 64):
                actions[signal.Signals(number)]()

    threading.Thread(target=serve, name="signals", daemon=True).start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in actions:
        # What it does is done by the thread; without a handler the interpreter would not write to the pipe.
        signal.signal(number, lambda _number, _frame: None)
