"""Events of the Greengrass IPC: from the SDK's own thread to callbacks that run one after the other."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any, Callable, Optional, Tuple

_log = logging.getLogger(__name__)


class Events:
    """Runs callbacks one after the other on one thread, which a blocked callback cannot keep alive at exit."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Optional[Tuple[Callable[..., None], Tuple[Any, ...]]]] = queue.SimpleQueue()
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ipc-events", daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., None], *arguments: Any) -> None:
        if not self.stopped.is_set():
            self._queue.put((function, arguments))

    def stop(self) -> None:
        self.stopped.set()
        self._queue.put(None)

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            function, arguments = item
            try:
                function(*arguments)
            except Exception:  # noqa: BLE001 - whatever a callback raises, the next one still runs
                _log.exception("A callback of the Greengrass IPC client failed")


class Subscription:
    def __init__(self, events: Events, deliver: Callable[[Any], None]) -> None:
        self._events = events
        self._deliver = deliver
        self._closed = False
        self.operation: Any = None

    def receive(self, event: Any) -> None:
        self._events.submit(self._hand_over, event)

    def _hand_over(self, event: Any) -> None:
        if not self._closed:
            self._deliver(event)

    def close(self) -> None:
        """No callback begins after this; one that runs may still be running."""
        self._closed = True
        if self.operation is not None:
            self.operation.close()


def handler_for(base: Any, subscription: Subscription) -> Any:
    """An SDK stream handler of the class `base` that gives every event to the subscription."""

    class Handler(base):  # type: ignore[misc] # the SDK is untyped here
        def on_stream_event(self, event: Any) -> None:
            subscription.receive(event)

    return Handler()
