"""The line of calls before one model's engines: first come, first served; late and abandoned calls are never computed.

A call takes a ticket. Whoever changes something that lets a call proceed (a call ended, an engine was loaded, threads
were given back) hands the engine to the ticket at the front, so nobody can step in before it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import Callable, Deque, Iterator, NamedTuple, Optional, Tuple

import grpc

from edge_agent.model import Model
from edge_agent.server.pool import EnginePool, close_all
from edge_agent.server.refusal import Refusal
from edge_agent.server.units import ThreadBudget

#: Calls that may wait for one model; one more is refused at once.
MAX_WAITING = 8

#: Has a callback called when the caller goes away; false where it is gone already. gRPC's `add_callback`.
OnGone = Callable[[Callable[[], None]], bool]


class Turn(NamedTuple):
    """An engine for one call, and what it is."""

    model: Model
    version: Optional[str]
    waited_ms: float


class _Ticket:
    """A call's place in the line; the lock of the line guards it."""

    def __init__(self, lock: threading.RLock, timeout: Optional[float]) -> None:
        self.called = threading.Condition(lock)
        self.came = time.monotonic()
        # No thread waits longer than TIMEOUT_MAX; a client may well send a later deadline.
        self.deadline = None if timeout is None else self.came + min(timeout, threading.TIMEOUT_MAX)
        self.refusal: Optional[Refusal] = None
        self.grant: Optional[Tuple[EnginePool, Model]] = None

    def wait(self) -> None:
        """Until something happened to it, or its deadline passed."""
        self.called.wait(None if self.deadline is None else self.deadline - time.monotonic())

    @property
    def is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline


class Turns:
    """Calls and engines of one model; safe to use from any thread.

    Args:
        component: the model, for messages.
        lock: of the slot, which this shares, so that a state and its line change in one step.
        budget: of the machine.
        admit: raises Refusal unless a new call may join; called with the lock held.
        grow: has one more engine loaded for a pool, which ends with `add` or `cannot_add`; with the lock held.
        lost: told why when the last engine has died; with the lock held.
    """

    def __init__(
        self,
        component: str,
        lock: threading.RLock,
        budget: ThreadBudget,
        *,
        admit: Callable[[], None],
        grow: Callable[[EnginePool], None],
        lost: Callable[[str], None],
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._component = component
        self._lock = lock
        self._budget = budget
        self._admit = admit
        self._grow = grow
        self._lost = lost
        self._max_waiting = max_waiting
        self._line: Deque[_Ticket] = deque()
        self._pool: Optional[EnginePool] = None
        self._at_work = 0  # of every pool, also those that serve no more
        self._ended = threading.Condition(lock)

    @property
    def pool(self) -> Optional[EnginePool]:
        """The version that serves."""
        with self._lock:
            return self._pool

    @property
    def waiting(self) -> int:
        with self._lock:
            return len(self._line)

    @property
    def at_work(self) -> int:
        with self._lock:
            return self._at_work

    @contextlib.contextmanager
    def take(self, timeout: Optional[float], on_gone: OnGone) -> Iterator[Turn]:
        """An engine, for the length of the `with`.

        Args:
            timeout: seconds that the caller still waits for an answer; None for a caller without a deadline.
            on_gone: has us told when the caller goes.

        Raises:
            Refusal: what `admit` says; RESOURCE_EXHAUSTED when too many calls wait already; DEADLINE_EXCEEDED and
                CANCELLED when the caller's time is over before the call's turn.
        """
        ticket = self._join(timeout)
        try:
            gone = Refusal(grpc.StatusCode.CANCELLED, f"{self._component}: the caller is gone")
            if not on_gone(lambda: self._refuse(ticket, gone)):
                self._refuse(ticket, gone)
            yield self._wait(ticket)
        finally:
            self._leave(ticket)

    def serve(self, pool: Optional[EnginePool]) -> Optional[EnginePool]:
        """Have another version serve, or none, from the next call on; returns the one before it."""
        with self._lock:
            before, self._pool = self._pool, pool
            self._dispatch()
            return before

    def wait_until_idle(self, pool: EnginePool) -> None:
        """Until no call uses this version."""
        with self._lock:
            self._ended.wait_for(lambda: pool.at_work == 0)

    def wait_until_empty(self) -> None:
        """Until no call waits or is at work; the caller sees to it that none joins."""
        with self._lock:
            self._ended.wait_for(lambda: not self._line and self._at_work == 0)

    def refuse_all(self, refusal: Refusal) -> None:
        """No waiting call gets a turn any more."""
        with self._lock:
            while self._line:
                self._refuse(self._line[0], refusal)

    def add(self, pool: EnginePool, model: Model) -> bool:
        """One more engine for a version; false when that serves no more."""
        with self._lock:
            if pool is not self._pool:
                return False
            pool.grown(model)
            self._dispatch()
            return True

    def cannot_add(self, pool: EnginePool) -> None:
        """One more engine cannot be had."""
        with self._lock:
            pool.grown(None)
            self._check_lost(pool, "its other engines could not be loaded again")

    def drop_dead(self) -> None:
        """Notice engines that died between two calls, such as by a signal to their process."""
        with self._lock:
            dead = self._pool.take_dead() if self._pool is not None else []
            if dead and self._pool is not None:
                self._check_lost(self._pool, dead[-1].failure or "")
        close_all(dead)

    def drop_surplus(self) -> None:
        """Unload what is beyond the engines kept and had nothing to do for a while."""
        with self._lock:
            surplus = self._pool.take_surplus() if self._pool is not None else []
        close_all(surplus)

    def dispatch(self) -> None:
        """Give turns as far as there are engines and threads for them."""
        with self._lock:
            self._dispatch()

    def _join(self, timeout: Optional[float]) -> _Ticket:
        with self._lock:
            self._admit()
            ticket = _Ticket(self._lock, timeout)
            self._line.append(ticket)
            self._dispatch()
            if len(self._line) > self._max_waiting:
                self._line.pop()
                raise Refusal(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{self._component}: {self._max_waiting} calls wait for this model already; send fewer",
                )
            return ticket

    def _wait(self, ticket: _Ticket) -> Turn:
        with self._lock:
            while True:
                # First: a turn may have come, and then the end of the caller's patience, before this thread ran.
                if ticket.is_late:
                    late = f"{self._component}: no turn before the deadline"
                    self._refuse(ticket, Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, late))
                if ticket.refusal is not None:
                    raise ticket.refusal
                if ticket.grant is not None:
                    pool, model = ticket.grant
                    return Turn(model, pool.identity.version, (time.monotonic() - ticket.came) * 1e3)
                ticket.wait()

    def _refuse(self, ticket: _Ticket, refusal: Refusal) -> None:
        """Take a ticket out of the line; without effect on a call that computes already."""
        with self._lock:
            ticket.refusal = refusal
            with contextlib.suppress(ValueError):
                self._line.remove(ticket)
                self._ended.notify_all()
            ticket.called.notify()

    def _leave(self, ticket: _Ticket) -> None:
        """The end of a call, however it ended."""
        if ticket.grant is None:
            return
        pool, model = ticket.grant
        failure = model.failure
        with self._lock:
            self._at_work -= 1
            if failure is None:
                pool.put_back(model)
            else:
                pool.drop()
                self._check_lost(pool, failure)
            self._ended.notify_all()
            others = self._budget.give_back(pool.share.threads)
            self._dispatch(only_first=True)
        # What is left goes to other models first: a busy one would always take the threads that it gave back.
        for wake in others:
            wake()
        self.dispatch()
        if failure is not None:
            model.close()

    def _dispatch(self, *, only_first: bool = False) -> None:
        """Give turns as far as there are engines and threads for them; `only_first`, if none is at work."""
        pool = self._pool
        if pool is None:
            return
        while self._line and pool.has_idle:
            if only_first and self._at_work:
                return
            if not self._budget.take(pool.share.threads, self.dispatch, first=self._at_work == 0):
                return
            ticket = self._line.popleft()
            ticket.grant = (pool, pool.take())
            self._at_work += 1
            ticket.called.notify()
        if self._line and pool.begin_growing():
            self._grow(pool)

    def _check_lost(self, pool: EnginePool, reason: str) -> None:
        if pool is self._pool and pool.is_lost:
            self._pool = None
            self._lost(reason)
