"""Things of a library whose calls block: a thread of their own makes the calls, so that who waits can stop waiting."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Callable, Generic, Optional, TypeVar

from edge_agent.errors import CameraNotConnectedError

T = TypeVar("T")
R = TypeVar("R")


class Resource(Generic[T]):
    """Something that is opened, used and closed by a thread of its own, again and again.

    The thread is a daemon: a process that ends does not wait for it. One that is still in a call when its resource is
    closed ends after that call, and closes what it holds then.

    Args:
        subject: what errors are about.
        make: opens it.
        close: closes it.
    """

    def __init__(self, subject: str, make: Callable[[], T], close: Callable[[T], None]) -> None:
        self._subject = subject
        self._make = make
        self._close = close
        self._worker: Optional[_Worker] = None
        # The thread of an earlier opening: it may still be in a call.
        self._former: Optional[_Worker] = None
        self._opening: Future[T] = Future()

    def open(self, within_s: float) -> T:
        """The opened resource; what `make` raises is raised here.

        Raises:
            CameraNotConnectedError: not within that time, or the one before is not closed yet after that time.
        """
        self.close()
        # A device or a camera that serves one client alone refuses a second one.
        if self._former is not None and not self._former.gone(within_s):
            raise CameraNotConnectedError(self._subject, "does not let go of the connection before")
        self._worker = _Worker(self._subject)
        self._opening = self._worker.begin(self._make)
        if not is_done(self._opening, within_s):
            raise CameraNotConnectedError(self._subject, f"did not answer within {within_s:g} s")
        return self._opening.result()

    def begin(self, call: Callable[[T], R]) -> Future[R]:
        """Have the call made on the opened resource, after those that were begun before.

        Raises:
            CameraNotConnectedError: it is not open.
        """
        if self._worker is None:
            raise CameraNotConnectedError(self._subject, "is not open")
        resource = self._opening.result()
        return self._worker.begin(lambda: call(resource))

    def close(self) -> None:
        """Have it closed after the calls that were begun; nobody waits. Any number of times."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        opening = self._opening

        def close() -> None:
            if opening.exception() is None:
                self._close(opening.result())

        worker.begin(close)
        worker.leave()
        self._former = worker


def is_done(future: Future[R], timeout: float) -> bool:
    """Wait at most `timeout` seconds for the call; true when it ended, with a result or an error."""
    try:
        future.exception(timeout)
    except FutureTimeoutError:
        return False
    return True


class _Worker:
    """A thread that makes one call after the other."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Optional[Callable[[], None]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def begin(self, call: Callable[[], R]) -> Future[R]:
        future: Future[R] = Future()

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
        self._calls.put(None)

    def gone(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                return
            call()
