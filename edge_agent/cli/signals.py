"""Signals on a thread of their own.

A Python signal handler runs in the middle of whatever the main thread does, so it may not take a lock. A thread that
waits for the signals may do anything.
"""

from __future__ import annotations

import signal
import threading
from typing import Callable, Mapping


def on_signals(actions: Mapping[signal.Signals, Callable[[], None]]) -> None:
    """Call the action of each signal that comes, one after the other.

    Call it before any other thread is started: threads inherit the mask that keeps the signals for this one.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, actions)

    def serve() -> None:
        while True:
            actions[signal.Signals(signal.sigwait(actions))]()

    threading.Thread(target=serve, name="signals", daemon=True).start()
