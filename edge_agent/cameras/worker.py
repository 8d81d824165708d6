"""Blocking calls of a library, made in a thread of their own, so that who waits for one can stop waiting."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Callable, Optional, TypeVar

T = TypeVar("T")


class Worker:
    """Makes one call after the other. Its thread is a daemon: a process that ends does not wait for it."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Optional[Callable[[], None]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def begin(self, call: Callable[[], T]) -> Future[T]:
        """Have the call made when those before it are done; its future has the result or what it raised."""
        future: Future[T] = Future()

        def make() -> None:
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where the result is asked for
                future.set_exception(error)
            else:
                future.set_result(result)

        self._calls.put(make)
        return future

    def leave(self) -> None:
        """Have the thread end after the calls that were begun; nobody waits."""
        self._calls.put(None)

    def gone(self, timeout: float) -> bool:
        """Whether the thread has ended, waited for at most `timeout` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                return
            call()


def is_done(future: Future[T], timeout: float) -> bool:
    """Wait at most `timeout` seconds for the call; true when it ended, with a result or an error."""
    try:
        future.exception(timeout)
    except FutureTimeoutError:
        return False
    return True
