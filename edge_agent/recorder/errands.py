"""What other threads want done on the recorder's thread, between two images."""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Callable, Deque, NamedTuple, TypeVar

from edge_agent.errors import RecorderError

_log = logging.getLogger(__name__)

T = TypeVar("T")

_CAPACITY = 32


class _Errand(NamedTuple):
    done: "Future[Any]"
    work: Callable[[], Any]


class Errands:
    """Asked for by any thread; done by one.

    Args:
        changed: notified when there is one; its lock guards them.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._waiting: Deque[_Errand] = deque()
        self._refused = False

    def ask(self, work: Callable[[], T], timeout: float) -> T:
        """Have it done, and wait for what it gives or raises.

        Raises:
            RecorderError: it was not begun within so many seconds, so many wait already, or the recorder has stopped.
        """
        errand = _Errand(Future(), work)
        with self._changed:
            if self._refused:
                raise RecorderError("recorder", "has stopped")
            if len(self._waiting) >= _CAPACITY:
                raise RecorderError("recorder", "is busy", "Try again in a moment.")
            self._waiting.append(errand)
            self._changed.notify_all()
        try:
            return errand.done.result(timeout)  # type: ignore[no-any-return]
        except FutureTimeoutError as error:
            if errand.done.cancel():
                raise RecorderError("recorder", f"did not come to it within {timeout:g} s", "Try again.") from error
            return errand.done.result()  # type: ignore[no-any-return]

    def waiting(self) -> bool:
        """With the lock held."""
        return bool(self._waiting)

    def do_one(self) -> bool:
        """On the recorder's thread: whether there was one. A fault of ours in it costs it alone."""
        with self._changed:
            if not self._waiting:
                return False
            errand = self._waiting.popleft()
        if not errand.done.set_running_or_notify_cancel():
            return True
        try:
            errand.done.set_result(errand.work())
        except RecorderError as error:
            errand.done.set_exception(error)
        except Exception as error:  # noqa: BLE001 - recording goes on
            _log.exception("recorder: a request failed by an internal error")
            refusal = RecorderError("recorder", "failed by an internal error", "The log says why.")
            refusal.__cause__ = error
            errand.done.set_exception(refusal)
        return True

    def refuse(self) -> None:
        """From now on, and those that wait; with the lock held."""
        self._refused = True
        while self._waiting:
            self._waiting.popleft().done.set_exception(RecorderError("recorder", "has stopped"))
