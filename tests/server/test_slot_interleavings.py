"""Random interleavings of everything that can happen to a model, held against a sequential picture of what must be.

Loads end and calls compute only when a step says so; after each step the slot must come to what the picture shows.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import pytest
from support.scripted import Caller, ScriptedLoader, package_of

from edge_agent.errors import EngineError
from edge_agent.server.refusal import Refusal
from edge_agent.server.slot import ModelSlot
from edge_agent.server.turns import MAX_WAITING
from edge_agent.server.units import ThreadBudget
from edge_agent.wire import edge_agent_pb2 as wire

THREADS = 2
UNITS = 2  # of one thread each
PATIENCE_S = 20.0


class Call(threading.Thread):
    """A caller; `outcome` is a status code's name, or the version that computed for it, or None until it is over."""

    def __init__(self, slot: ModelSlot, timeout: Optional[float] = None) -> None:
        super().__init__(daemon=True)
        self.outcome: Optional[str] = None
        self.computing: Optional[str] = None
        self._slot = slot
        self._caller = Caller()
        self._timeout = timeout
        self._end = threading.Event()
        self._dies = False
        self.start()

    def run(self) -> None:
        try:
            with self._slot.take_turn(self._timeout, self._caller.on_gone) as turn:
                turn.model.compute(lambda: self._compute(turn))
            self.outcome = turn.version
        except Refusal as refusal:
            self.outcome = refusal.code.name
        except EngineError:
            self.outcome = "INTERNAL"
        self.computing = None

    def finish(self, *, dies: bool = False) -> None:
        self._dies = dies
        self._end.set()

    def hang_up(self) -> None:
        self._caller.hang_up()

    def _compute(self, turn: Any) -> None:
        self.computing = turn.version
        self._end.wait()
        if self._dies:
            turn.model.die("the conveyor is on strike")


class Pool:
    """The picture of a version's engines. `size` counts those that are loaded, idle or at work."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.size = 1
        self.growing = False
        self.may_grow = True


class Walk:
    """One model, what happens to it, and the picture of what must follow."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.loader = ScriptedLoader(THREADS, (1, UNITS), gated=True)
        self.budget = ThreadBudget(THREADS)
        self.name = f"bolts-{seed}"
        self.slot: Any = ModelSlot(self.name, self.loader, self.budget)  # type: ignore[arg-type]
        self.status = "STOPPED"
        self.failing = False  # whether there is a message
        self.pool: Optional[Pool] = None
        self.line: List[Call] = []
        self.work: Dict[Call, Pool] = {}
        self.over: List[Tuple[Call, str]] = []
        self.versions = 0
        self.loading: Dict[str, Optional[Pool]] = {}  # version that is to come: what it shall replace
        self.stopping: List[threading.Thread] = []
        self.happened: List[str] = []

    def step(self) -> None:
        """One thing happens, of those that can; then everything settles."""
        running = self.status == "RUNNING"
        actions: List[Tuple[Callable[[], None], float]] = [
            (self.start, 0.3 if running or self.loading else 5),
            (self.swap, 1.5 if running else 0.3),
            (self.stop, 0.5),
            (self.call, 4 if running else 0.5),
            (self.call_with_a_deadline_that_passes, running and self.must_wait() and len(self.line) < MAX_WAITING),
            (self.call_whose_deadline_has_passed, running),
            (self.end_load, 3 * (self.loader.inside is not None)),
            (self.hang_up, 1.5 * bool(self.line)),
            (self.finish, 4 * bool(self.work)),
        ]
        action = self.random.choices([one for one, _ in actions], [weight for _, weight in actions])[0]
        self.happened.append(action.__name__)
        action()
        self.settle()

    # What happens.

    def start(self) -> None:
        self.versions += 1
        version = str(self.versions)
        wrong = self.status not in ("STOPPED", "FAILED")
        assert refused(lambda: self.slot.start(package_of(version))) == wrong
        if not wrong:
            self.status, self.failing = "STARTING", False
            self.loading[version] = None

    def swap(self) -> None:
        self.versions += 1
        version = str(self.versions)
        if not refused(lambda: self.slot.swap(package_of(version), frozenset([(version, 0, 0, 0)]))):
            assert self.status == "RUNNING"
            self.loading[version] = self.pool

    def stop(self) -> None:
        if self.status != "RUNNING":
            assert refused(self.slot.stop)
            return
        self.status, self.failing = "STOPPING", False
        self.stopping.append(threading.Thread(target=self.slot.stop, daemon=True))
        self.stopping[-1].start()

    def end_load(self) -> None:
        good = self.random.random() < 0.7
        kind, version = self.loader.inside or ("", "")
        if kind == "grow":
            self.end_growth(version, good=good)
        else:
            replaced = self.loading.pop(version)
            if replaced is None:
                self.status, self.failing = ("RUNNING", False) if good else ("FAILED", True)
                self.pool = Pool(version) if good else None
            elif self.status == "RUNNING" and self.pool is replaced:
                self.failing = not good
                self.pool = Pool(version) if good else replaced
        self.loader.finish(good=good)

    def end_growth(self, version: str, *, good: bool) -> None:
        pool = self.pool
        if pool is None or pool.version != version:
            return
        assert pool.growing
        pool.growing = False
        pool.size += good
        pool.may_grow = pool.may_grow and good
        self.bury_if_lost(pool)

    def call(self) -> None:
        call = Call(self.slot)
        if self.status != "RUNNING":
            self.over.append((call, "FAILED_PRECONDITION"))
            return
        self.line.append(call)
        self.dispatch()
        if len(self.line) > MAX_WAITING:
            self.over.append((self.line.pop(), "RESOURCE_EXHAUSTED"))

    def call_with_a_deadline_that_passes(self) -> None:
        self.over.append((Call(self.slot, 0.02), "DEADLINE_EXCEEDED"))
        self.want_growth()

    def call_whose_deadline_has_passed(self) -> None:
        call = Call(self.slot, 0.0)
        self.line.append(call)
        self.dispatch()
        if len(self.line) > MAX_WAITING:
            self.over.append((self.line.pop(), "RESOURCE_EXHAUSTED"))
            return
        # It may have been given a turn, which it does not want any more.
        self.over.append((call, "DEADLINE_EXCEEDED"))
        self.work.pop(call, None)
        if call in self.line:
            self.line.remove(call)

    def hang_up(self) -> None:
        gone = self.line.pop(self.random.randrange(len(self.line)))
        self.over.append((gone, "CANCELLED"))
        gone.hang_up()

    def finish(self) -> None:
        call = self.random.choice(list(self.work))
        pool = self.work.pop(call)
        dies = self.random.random() < 0.2
        if self.random.random() < 0.5:
            call.hang_up()  # too late to change anything
        if dies:
            pool.size -= 1
            self.bury_if_lost(pool)
        self.over.append((call, "INTERNAL" if dies else pool.version))
        call.finish(dies=dies)

    # What must follow.

    def must_wait(self) -> bool:
        pool = self.pool
        assert pool is not None
        at_work = sum(one is pool for one in self.work.values())
        return bool(self.line) or at_work >= pool.size or (bool(self.work) and len(self.work) >= THREADS)

    def dispatch(self) -> None:
        pool = self.pool
        while pool is not None and self.line:
            idle = pool.size - sum(one is pool for one in self.work.values())
            if idle <= 0:
                self.want_growth()
                return
            if self.work and len(self.work) >= THREADS:
                return
            self.work[self.line.pop(0)] = pool

    def want_growth(self) -> None:
        """A call that waits for an engine, not for threads, has one more loaded."""
        pool = self.pool
        if pool is not None and pool.size < UNITS and pool.may_grow:
            idle = pool.size - sum(one is pool for one in self.work.values())
            pool.growing = pool.growing or idle <= 0

    def bury_if_lost(self, pool: Pool) -> None:
        if pool is self.pool and pool.size == 0 and not pool.growing:
            self.pool = None
            self.over += [(call, "FAILED_PRECONDITION") for call in self.line]
            self.line = []
            if self.status == "RUNNING":
                self.status, self.failing = "FAILED", True

    def expected(self) -> Any:
        return {
            "status": self.status,
            "message": self.failing,
            "version": self.pool.version if self.pool is not None else None,
            "engines": self.pool.size if self.pool is not None else 0,
            "waiting": len(self.line),
            "at work": {call: pool.version for call, pool in self.work.items()},
            "over": [outcome for _, outcome in self.over],
        }

    def found(self) -> Any:
        state = self.slot.state()
        return {
            "status": wire.ModelStatus.Name(state.status),
            "message": bool(state.message),
            "version": state.identity.version if state.identity else None,
            "engines": self.slot.turns.pool.size if self.slot.turns.pool is not None else 0,
            "waiting": self.slot.turns.waiting,
            "at work": {call: call.computing for call in self.work if call.computing is not None},
            "over": [call.outcome for call, _ in self.over],
        }

    def settle(self) -> None:
        self.dispatch()
        if self.status == "STOPPING" and not self.line and not self.work:
            self.status, self.pool = "STOPPED", None
        self.wait_for(lambda: self.found() == self.expected())
        assert self.found() == self.expected()
        assert not self.loader.faults

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.0005)

    def end(self) -> None:
        """Let everything end: each call is in one place, each engine closed, each thread gone."""
        deadline = time.monotonic() + PATIENCE_S
        while self.work or self.line or self.stopping or busy_threads(self.name):
            assert time.monotonic() < deadline
            self.stopping = [thread for thread in self.stopping if thread.is_alive()]
            for call in list(self.work):
                self.over.append((call, self.work.pop(call).version))
                call.finish()
            self.settle()
            if self.loader.inside is not None:
                self.end_load()
                self.settle()
        if self.status == "RUNNING":
            self.slot.stop()
        assert all(model.closed for model in self.loader.models)
        assert self.budget.used == 0
        assert not self.loader.faults

    def check_books(self) -> None:
        """Every call is over, and every one that was computed was answered, and no other."""
        not_computed = {"FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED"}
        outcomes = Counter(call.outcome for call, _ in self.over)
        assert None not in outcomes
        computed = sum(model.computed for model in self.loader.models)
        assert computed == sum(count for outcome, count in outcomes.items() if outcome not in not_computed)


def refused(action: Callable[[], None]) -> bool:
    """Whether the state did not allow it."""
    try:
        action()
    except Refusal as refusal:
        return refusal.code.name == "FAILED_PRECONDITION"
    return False


def busy_threads(name: str) -> Set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.endswith(f" {name}")}


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_the_slot_does_what_it_must(seed: int) -> None:
    walk = Walk(seed)
    try:
        for _ in range(80):
            walk.step()
        walk.end()
        walk.check_books()
    except BaseException:
        print("\n".join(walk.happened))  # noqa: T201 - pytest shows it with the failure
        raise
