"""A model's line, engines and swaps, with engines that do what the test says; the real ones are in test_swap.py."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, List, Optional

import pytest
from support.scripted import Caller, ScriptedLoader, package_of

from edge_agent.errors import ConfigError, EngineError
from edge_agent.server import pool as pool_module
from edge_agent.server.refusal import Refusal
from edge_agent.server.slot import ModelSlot
from edge_agent.server.turns import MAX_WAITING
from edge_agent.server.units import InferenceUnits, Share, ThreadBudget, parse_units, share_of
from edge_agent.wire.edge_agent_pb2 import FAILED, RUNNING, STOPPED

PATIENCE_S = 30.0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Call(threading.Thread):
    """A call that computes until `finish`; `outcome` is the version that computed, or a code's name."""

    def __init__(self, slot: ModelSlot, timeout: Optional[float] = None, done: Optional[List[Any]] = None) -> None:
        super().__init__(daemon=True)
        self.computing: Optional[str] = None
        self.outcome: Optional[str] = None
        self.caller = Caller()
        self._slot, self._timeout, self._done = slot, timeout, done
        self._end = threading.Event()
        before = slot.turns.at_work + slot.turns.waiting
        self.start()
        wait_for(lambda: self.outcome is not None or slot.turns.at_work + slot.turns.waiting > before)

    def run(self) -> None:
        try:
            with self._slot.take_turn(self._timeout, self.caller.on_gone) as turn:
                model: Any = turn.model
                model.compute(lambda: self._compute(turn))
            self.outcome = turn.version
        except Refusal as refusal:
            self.outcome = refusal.code.name
        except EngineError:
            self.outcome = "INTERNAL"

    def finish(self) -> Optional[str]:
        self._end.set()
        self.join(PATIENCE_S)
        return self.outcome

    def _compute(self, turn: Any) -> None:
        self.computing = turn.version
        if self._done is not None:
            self._done.append(self)
        self._end.wait()


class Bench:
    """Slots on one machine of `threads`, started with version 1."""

    def __init__(self, threads: int = 1, units: Any = (1, 1), *, names: Any = ("bolts",), gated: bool = False) -> None:
        self.loader: Any = ScriptedLoader(threads, units, gated=gated)
        self.budget = ThreadBudget(threads)
        self.slots = [ModelSlot(name, self.loader, self.budget) for name in names]
        self.slot = self.slots[0]
        for slot in self.slots:
            slot.start(package_of("1"))
            if gated:
                self.finish_load()
            wait_for(lambda slot=slot: slot.state().status == RUNNING)

    def finish_load(self, *, good: bool = True) -> None:
        wait_for(lambda: self.loader.inside is not None)
        self.loader.finish(good=good)

    def swap(self, version: str) -> None:
        self.slot.swap(package_of(version), frozenset([(version, 0, 0, 0)]))

    @property
    def version(self) -> Optional[str]:
        identity = self.slot.state().identity
        return identity.version if identity else None


def test_first_come_first_served() -> None:
    bench = Bench()
    order: List[Any] = []
    calls = [Call(bench.slot, done=order) for _ in range(1 + MAX_WAITING)]
    for call in calls:
        assert call.finish() == "1"
    assert order == calls


def test_a_full_line_refuses_and_a_place_that_is_left_is_taken() -> None:
    bench = Bench()
    calls = [Call(bench.slot) for _ in range(1 + MAX_WAITING)]
    assert Call(bench.slot).outcome == "RESOURCE_EXHAUSTED"
    calls[3].caller.hang_up()
    calls[3].join(PATIENCE_S)
    assert calls[3].outcome == "CANCELLED"
    late = Call(bench.slot)
    assert Call(bench.slot).outcome == "RESOURCE_EXHAUSTED"
    for call in [one for one in [*calls, late] if one is not calls[3]]:
        assert call.finish() == "1"
    assert sum(model.computed for model in bench.loader.models) == 1 + MAX_WAITING


@pytest.mark.parametrize("end", ["deadline", "cancellation", "both"])
def test_a_call_whose_caller_has_gone_is_not_computed(end: str) -> None:
    bench = Bench()
    first = Call(bench.slot)
    waiting = Call(bench.slot, None if end == "cancellation" else 0.05)
    if end != "deadline":
        waiting.caller.hang_up()
    waiting.join(PATIENCE_S)
    assert waiting.outcome in ("DEADLINE_EXCEEDED", "CANCELLED")
    assert bench.slot.turns.waiting == 0
    assert first.finish() == "1"
    assert bench.loader.models[0].computed == 1


def test_a_turn_that_comes_too_late_is_given_back() -> None:
    """The deadline passes while the engine is handed over: the turn is not used, and the next call gets it."""
    bench = Bench()
    assert Call(bench.slot, 0.0).outcome == "DEADLINE_EXCEEDED"
    gone = Refusal
    with pytest.raises(gone, match="the caller is gone"), bench.slot.take_turn(None, lambda _: False):
        raise AssertionError("computed for nobody")
    assert (bench.loader.models[0].computed, bench.slot.turns.at_work, bench.budget.used) == (0, 0, 0)
    assert Call(bench.slot).finish() == "1"


def test_a_swap_waits_for_nobody_and_nobody_for_it() -> None:
    bench = Bench(2, (1, 2), gated=True)
    old = Call(bench.slot)
    bench.swap("2")
    wait_for(lambda: bench.loader.inside == ("load", "2"))
    assert (bench.slot.state().status, bench.version) == (RUNNING, "1")
    bench.finish_load()
    wait_for(lambda: bench.version == "2")
    new = Call(bench.slot)
    wait_for(lambda: new.computing == "2")
    assert (old.computing, bench.loader.models[0].closed) == ("1", False)
    assert new.finish() == "2"
    assert old.finish() == "1"
    wait_for(lambda: bench.loader.models[0].closed)
    assert bench.loader.faults == []


def test_calls_that_wait_go_to_the_new_version() -> None:
    bench = Bench(gated=True)
    first, second = Call(bench.slot), Call(bench.slot)
    bench.swap("2")
    bench.finish_load()
    wait_for(lambda: bench.version == "2")
    assert [first.finish(), second.finish()] == ["1", "2"]


def test_a_bad_version_is_not_served_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.loader.broken = True
    bench.swap("2")
    wait_for(lambda: bench.slot.state().message != "")
    state = bench.slot.state()
    assert (state.status, bench.version) == (RUNNING, "1")
    assert state.message == "a new package is there, but not served: 2: is broken"
    assert [record.message for record in caplog.records] == [f"bolts: {state.message}"]
    assert Call(bench.slot).finish() == "1"
    bench.loader.broken = False
    wait_for(lambda: not bench.slot._swapping)
    bench.swap("3")
    wait_for(lambda: bench.version == "3")
    assert bench.slot.state().message == ""


def test_one_swap_at_a_time() -> None:
    bench = Bench(gated=True)
    bench.swap("2")
    with pytest.raises(Refusal, match="one at a time"):
        bench.swap("3")
    bench.finish_load()
    wait_for(lambda: not bench.slot._swapping)
    bench.swap("3")
    bench.finish_load()
    wait_for(lambda: bench.version == "3")


def test_a_stop_while_a_version_is_loaded() -> None:
    bench = Bench(gated=True)
    bench.swap("2")
    wait_for(lambda: bench.loader.inside is not None)
    bench.slot.stop()
    assert bench.slot.state().status == STOPPED
    bench.finish_load()
    wait_for(lambda: all(model.closed for model in bench.loader.models) and len(bench.loader.models) == 2)
    assert (bench.slot.state().status, bench.slot.state().message, bench.version) == (STOPPED, "", None)


def test_a_start_waits_for_the_load_that_a_stop_left_behind() -> None:
    bench = Bench(gated=True)
    bench.swap("2")
    wait_for(lambda: bench.loader.inside == ("load", "2"))
    bench.slot.stop()
    bench.slot.start(package_of("3"))
    bench.finish_load(good=False)
    bench.finish_load()
    wait_for(lambda: bench.version == "3")
    assert bench.loader.faults == []


def test_engines_come_with_the_queue_and_go_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(3, (1, 3))
    one = Call(bench.slot)
    pool: Any = bench.slot.turns.pool
    assert pool.size == 1
    two = Call(bench.slot)
    wait_for(lambda: two.computing == "1")
    assert pool.size == 2
    three, four = Call(bench.slot), Call(bench.slot)
    wait_for(lambda: three.computing == "1")
    assert (pool.size, four.computing) == (3, None)
    for call in (one, two, three, four):
        assert call.finish() == "1"
    bench.slot.turns.drop_surplus()
    assert pool.size == 3  # a minute has not passed
    monkeypatch.setattr(pool_module, "KEEP_S", 0.0)
    bench.slot.turns.drop_surplus()
    assert pool.size == 1
    assert sorted(model.closed for model in bench.loader.models) == [False, True, True]
    assert Call(bench.slot).finish() == "1"


def test_an_engine_that_cannot_be_had_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(2, (1, 2))
    bench.loader.broken = True
    one, two = Call(bench.slot), Call(bench.slot)
    wait_for(lambda: "bolts: stays at 1 engines: 1: is broken" in caplog.text)
    three = Call(bench.slot)
    assert [one.finish(), two.finish(), three.finish()] == ["1", "1", "1"]
    assert len(caplog.records) == 1  # it is not tried again for each call


def test_a_model_fails_when_its_last_engine_has_died() -> None:
    bench = Bench(2, (2, 2))
    first, second = bench.loader.models
    first.failure = "its process was ended"
    bench.slot.turns.drop_dead()
    assert (bench.slot.state().status, first.closed) == (RUNNING, True)
    assert Call(bench.slot).finish() == "1"
    second.failure = "its process was ended, too"
    bench.slot.turns.drop_dead()
    assert bench.slot.state().status == FAILED
    assert bench.slot.state().message == "the model stopped working: its process was ended, too"
    assert Call(bench.slot).outcome == "FAILED_PRECONDITION"


def test_the_machine_is_shared_out_by_threads() -> None:
    """Each model has its first inference at once; further ones need free threads, and get them when they are."""
    bench = Bench(2, (2, 2), names=("bolts", "gears"))
    bolts = [Call(bench.slots[0]) for _ in range(3)]
    wait_for(lambda: [call.computing for call in bolts] == ["1", "1", None])
    gears = [Call(bench.slots[1]) for _ in range(2)]
    wait_for(lambda: gears[0].computing == "1")
    assert gears[1].computing is None
    assert bench.budget.used == 3  # the first of a model waits for no other model
    assert bolts[0].finish() == "1"
    assert [call.computing for call in (bolts[2], gears[1])] == [None, None]
    assert bolts[1].finish() == "1"
    wait_for(lambda: [call.computing for call in (bolts[2], gears[1])] == ["1", None])  # its first again
    assert gears[0].finish() == "1"
    wait_for(lambda: gears[1].computing == "1")
    assert [call.finish() for call in (bolts[2], gears[1])] == ["1", "1"]
    assert bench.budget.used == 0


def test_threads_that_are_given_back_go_to_the_model_that_waits() -> None:
    bench = Bench(3, (3, 3), names=("bolts", "gears"))
    bolts = [Call(bench.slots[0]) for _ in range(4)]
    gears = [Call(bench.slots[1]) for _ in range(2)]
    wait_for(lambda: [call.computing for call in bolts] == ["1", "1", "1", None])
    assert [call.computing for call in gears] == ["1", None]
    assert bench.budget.used == 4
    assert bolts[0].finish() == "1"
    assert [call.computing for call in (bolts[3], gears[1])] == [None, None]
    assert bolts[1].finish() == "1"
    wait_for(lambda: gears[1].computing == "1")  # bolts still has one at work
    assert bolts[3].computing is None
    for call in [*bolts[2:], *gears]:
        assert call.finish() == "1"


@pytest.mark.parametrize(
    ("units", "threads", "share"),
    [
        ((1, 1), 1, (1, 1, 1)),
        ((1, 1), 8, (1, 1, 8)),
        ((1, 2), 8, (1, 2, 4)),
        ((2, 3), 8, (2, 3, 2)),
        ((1, 4), 2, (1, 2, 1)),
        ((4, 4), 2, (2, 2, 1)),
        ((64, 64), 1, (1, 1, 1)),
    ],
)
def test_a_models_share_of_the_machine(units: Any, threads: int, share: Any) -> None:
    assert share_of(InferenceUnits(*units), threads) == Share(*share)


def test_units_as_options_are_written() -> None:
    assert parse_units("bolts=1:4") == ("bolts", InferenceUnits(1, 4))
    assert parse_units("a=b=2") == ("a=b", InferenceUnits(2, 2))
    for wrong in ("", "bolts", "bolts=", "=1:2", "bolts=2:1", "bolts=0:1", "bolts=1:65", "bolts=1:x", "bolts=-1:1"):
        with pytest.raises(ConfigError, match="units"):
            parse_units(wrong)
