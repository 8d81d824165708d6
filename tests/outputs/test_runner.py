"""The runner: times, rule, queue, breaker and safe state, with an output that does what the test says."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest
from outputs.conftest import read
from support.outputs import inspection, part
from support.waiting import until

from edge_agent.clock import SystemClock
from edge_agent.errors import OutputError, OutputNotConnectedError
from edge_agent.outputs import Outputs
from edge_agent.outputs.base import Action, Output, SafeReason
from edge_agent.outputs.books import OutputBooks
from edge_agent.outputs.runner import Runner


class ScriptedOutput(Output):
    """Notes every call; `fail` and `held` are the test's."""

    def __init__(self, *, drives: bool, follows: bool) -> None:
        self.drives, self.follows = drives, follows  # type: ignore[misc] # each object is a kind of its own here
        self.calls: List[Tuple[str, Any]] = []
        self.fail: Dict[str, Exception] = {}
        self.going = threading.Event()
        self.going.set()

    def open(self) -> None:
        self._note("open", None)

    def apply(self, action: Action) -> None:
        self._note("apply", action)

    def safe(self, reason: SafeReason) -> None:
        self._note("safe", reason)

    def ready(self) -> None:
        self._note("ready", None)

    def close(self) -> None:
        self.calls.append(("close", None))

    def _note(self, name: str, value: Any) -> None:
        self.calls.append((name, value))
        if name == "apply":
            self.going.wait()
        if name in self.fail:
            raise self.fail[name]

    def named(self, *names: str) -> List[Tuple[str, Any]]:
        return [call for call in list(self.calls) if call[0] in names]

    def applied(self) -> List[Action]:
        return [value for _name, value in self.named("apply")]


class Bench:
    def __init__(self, output: ScriptedOutput, settings: Dict[str, Any], directory: Path) -> None:
        to = {"type": "gpio", "chip": f"sim:{directory}", "line": 1}
        self.output = output
        self.books = OutputBooks()
        self.runner = Runner("x", read(x={"to": to, **settings})["x"], output, self.books, SystemClock())

    def counts(self) -> Dict[str, Any]:
        found = self.books.snapshot().as_dict()
        assert found["balanced"]
        return found

    def offer(self, sequence: int = 1, *, ago_ms: float = 0.0, **verdict: Any) -> None:
        self.runner.offer(part(sequence, ago_ms=ago_ms), inspection(sequence, **verdict))

    def safe(self) -> None:
        """Wait for the first safe state."""
        until(lambda: self.runner.state() == "safe")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: List[Bench] = []

    def make(*, drives: bool = False, follows: bool = False, run: bool = True, **settings: Any) -> Bench:
        one = Bench(ScriptedOutput(drives=drives, follows=follows), settings, tmp_path)
        made.append(one)
        if run:
            one.runner.start()
            one.safe()
        return one

    yield make
    for one in made:
        one.output.going.set()
        if one.runner.state() == "opening" and not one.output.calls:
            one.runner.start()  # it ends in order what it was told
        one.runner.close(10.0)
        assert one.counts()["waiting"] == 0
        assert not one.runner.faulty()


def test_it_is_safe_before_anything_and_at_the_end(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.offer()
    until(one.output.applied)
    one.runner.close(10.0)
    assert [name for name, _value in one.output.calls] == ["open", "safe", "ready", "apply", "safe", "close"]
    assert [reason for _name, reason in one.output.named("safe")] == ["start", "stop"]
    one.offer(2)
    assert one.counts()["dropped"] == {"stopped": 1}


def test_a_part_that_is_not_acted_on_ends_the_safe_state_too(bench: Callable[..., Bench]) -> None:
    one = bench(when={"verdict": "anomalous"})
    one.offer(anomalous=False)
    until(lambda: one.runner.state() == "working")
    assert one.output.named("ready", "apply") == [("ready", None)]
    assert one.counts()["skipped"] == 1


@pytest.mark.parametrize(
    ("rule", "verdict", "met"),
    [
        ({"verdict": "all"}, {"anomalous": False}, True),
        ({"verdict": "normal"}, {"anomalous": False}, True),
        ({"verdict": "normal"}, {"anomalous": True}, False),
        ({"verdict": "anomalous"}, {"anomalous": False}, False),
        ({"verdict": "uncertain"}, {"confidence": 0.74}, True),
        ({"verdict": "uncertain"}, {"confidence": 0.75}, False),
        ({"verdict": "uncertain", "uncertain_below": 0.6}, {"confidence": 0.74}, False),
        ({"min_confidence": 0.8}, {"confidence": 0.79}, False),
        ({"min_confidence": 0.8}, {"confidence": 0.8}, True),
        ({"classes": ["scratch"]}, {"scratch": 0.001}, True),
        ({"classes": ["scratch"]}, {"dent": 0.5}, False),
        ({"classes": ["scratch", "dent"], "min_area": 0.3}, {"scratch": 0.2, "dent": 0.1, "oil": 0.5}, True),
        ({"classes": ["scratch"], "min_area": 0.3}, {"scratch": 0.2, "dent": 0.2}, False),
        ({"min_area": 0.3}, {"scratch": 0.2, "dent": 0.1}, True),
        ({"min_area": 0.3}, {"background": 0.9}, False),
        ({"classes": ["background"]}, {"background": 0.9}, True),
    ],
)
def test_the_rule(bench: Callable[..., Bench], rule: Dict[str, Any], verdict: Dict[str, Any], met: Any) -> None:
    one = bench(run=False, when=rule)
    one.offer(**verdict)
    counts = one.counts()
    assert (counts["waiting"], counts["skipped"]) == ((1, 0) if met else (0, 1))


def test_an_action_comes_at_its_time_after_capture(bench: Callable[..., Bench]) -> None:
    """In the order of their times, whatever the order of the verdicts."""
    one = bench(act_after_ms=150, max_late_ms=10_000)
    one.offer(2, ago_ms=0)
    one.offer(1, ago_ms=60)
    until(lambda: len(one.output.applied()) == 2)
    assert [action.part.sequence for action in one.output.applied()] == [1, 2]
    status = one.runner.status()
    assert status["lag_ms"]["p50"] >= 0, "none came before its time"


def test_what_follows_hears_of_every_part(bench: Callable[..., Bench]) -> None:
    one = bench(follows=True, when={"verdict": "anomalous"})
    for sequence, anomalous in ((1, True), (2, False)):
        one.offer(sequence, anomalous=anomalous)
        until(lambda wanted=sequence: len(one.output.applied()) == wanted)
    assert [action.on for action in one.output.applied()] == [True, False]


def test_a_part_without_a_verdict_in_time_is_acted_on_once(bench: Callable[..., Bench]) -> None:
    one = bench(drives=True, when={"verdict": "anomalous", "classes": ["scratch"]}, max_late_ms=10_000)
    late = part(1)
    one.runner.expect(late, decide_by_ms=30)
    until(one.output.applied)
    (action,) = one.output.applied()
    assert (action.cause, action.inspection, action.on) == ("late", None, True)
    one.runner.offer(late, inspection(1))
    counts = one.counts()
    assert (counts["offered"], counts["applied"], counts["undecided"]) == (1, 1, {"late": 1})


def test_a_verdict_in_time_is_all_that_is_acted_on(bench: Callable[..., Bench]) -> None:
    one = bench(drives=True, max_late_ms=10_000, act_after_ms=100)
    in_time = part(1)
    one.runner.expect(in_time, decide_by_ms=5_000)
    one.runner.offer(in_time, inspection(1))
    one.runner.expect(part(2), decide_by_ms=5_000)  # nobody decides: by its own time it is undecided
    until(lambda: len(one.output.applied()) == 2)
    assert [action.cause for action in one.output.applied()] == [None, "late"]
    assert one.counts()["offered"] == 2


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [
        ({}, "apply"),
        ({"when": {"verdict": "normal"}}, None),
        ({"undecided": "skip"}, None),
        ({"undecided": "safe", "when": {"verdict": "normal"}}, "safe"),
    ],
)
def test_undecided_parts(bench: Callable[..., Bench], settings: Dict[str, Any], outcome: Optional[str]) -> None:
    one = bench(**settings)
    before = len(one.output.calls)
    one.runner.give_up(part(None), "missed_trigger", "busy")
    until(lambda: one.counts()["waiting"] == 0)
    assert [name for name, _value in one.output.calls[before:]] == ([outcome] if outcome else [])
    assert one.counts()["undecided"] == {"missed_trigger": 1}
    assert one.counts()["skipped"] == int(outcome is None)


def test_a_slow_output_costs_the_lane_nothing(bench: Callable[..., Bench]) -> None:
    """What finds the queue full is dropped, counted, and makes the output safe."""
    one = bench(queue=5)
    one.output.going.clear()
    began = time.monotonic()
    for sequence in range(1, 101):
        one.offer(sequence)
    assert time.monotonic() - began < 5, "it waited for the output"
    counts = one.counts()
    assert counts["offered"] == 100
    assert counts["dropped"]["full"] == 100 - counts["waiting"]
    assert 5 <= counts["waiting"] <= 6
    one.output.going.set()
    until(lambda: one.counts()["waiting"] == 0)
    assert "fault" in [reason for _name, reason in one.output.named("safe")]


def test_what_drives_does_nothing_too_late(bench: Callable[..., Bench]) -> None:
    one = bench(drives=True, queue=50)
    one.output.going.clear()
    for sequence in range(1, 11):
        one.offer(sequence)
    time.sleep(0.2)
    one.output.going.set()
    until(lambda: one.counts()["waiting"] == 0)
    assert one.counts()["dropped"] == {"late": 9}


def test_the_breaker_opens_after_three_failures_and_lets_one_try_through(bench: Callable[..., Bench]) -> None:
    one = bench(max_late_ms=10_000)
    one.output.fail["apply"] = OutputError("device", "refuses")
    for sequence in range(1, 6):
        one.offer(sequence)
    until(lambda: one.runner.state() == "broken")
    counts = one.counts()
    assert (counts["failed"], counts["dropped"]) == ({"refused": 3}, {"broken": 2})
    one.offer(6)
    assert one.counts()["dropped"] == {"broken": 3}
    until(lambda: one.runner.state() == "safe")
    one.offer(7)  # the one try
    until(lambda: one.runner.state() == "broken")
    assert one.counts()["failed"] == {"refused": 4}
    until(lambda: one.runner.state() == "safe")
    del one.output.fail["apply"]
    one.offer(8)
    until(lambda: one.counts()["applied"] == 1)
    assert one.runner.state() == "working"
    assert one.runner.status()["breaker_opened"] == 2
    # After each failure it was opened again and made safe, before anything else.
    names = [name for name, _value in one.output.calls]
    for index, name in enumerate(names):
        if name == "close":
            assert names[index + 1 : index + 3] == ["open", "safe"]


def test_an_output_that_is_not_there_is_tried_for_ever(bench: Callable[..., Bench]) -> None:
    one = bench(run=False)
    one.output.fail["open"] = OutputNotConnectedError("device", "is not there")
    one.runner.start()
    until(lambda: one.runner.state() == "broken")
    assert len(one.output.named("open")) == 3
    until(lambda: len(one.output.named("open")) > 4)
    del one.output.fail["open"]
    one.safe()


def test_a_fault_of_ours_is_a_failure_like_another(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    one = bench()
    one.output.fail["apply"] = ZeroDivisionError()
    one.offer()
    until(lambda: one.counts()["failed"] == {"internal": 1})
    del one.output.fail["apply"]
    one.offer(2)
    until(lambda: one.counts()["applied"] == 1)
    assert "ZeroDivisionError" in caplog.text


def test_trouble_of_a_lane_makes_it_safe_at_once(bench: Callable[..., Bench]) -> None:
    one = bench(act_after_ms=60_000)
    one.runner.give_up(part(1), "lost", "timeout")  # waits for its time
    one.offer(2, ago_ms=0)
    until(lambda: one.runner.state() == "working")
    one.runner.trouble()
    until(lambda: ("safe", "fault") in one.output.calls)
    assert one.runner.state() == "safe"
    assert one.runner.status()["safe_after_fault_ms"]["last"] >= 0
    assert one.counts()["waiting"] == 2, "what was decided before keeps its time"


def test_silence_makes_it_safe_once(bench: Callable[..., Bench]) -> None:
    one = bench(silent_after_s=0.1)
    one.offer()
    until(lambda: ("safe", "silence") in one.output.calls)
    time.sleep(0.3)
    assert one.output.named("safe") == [("safe", "start"), ("safe", "silence")]
    one.offer(2)
    until(lambda: len(one.output.named("ready")) == 2)


def test_the_end_waits_for_what_has_its_time(bench: Callable[..., Bench]) -> None:
    one = bench(act_after_ms=150, max_late_ms=10_000)
    one.offer(1)
    one.runner.finish(30.0)
    until(lambda: one.runner.state() == "stopped")
    assert one.counts()["applied"] == 1
    assert one.output.calls[-2:] == [("safe", "stop"), ("close", None)]


def test_parts_that_nobody_settles_are_bounded(bench: Callable[..., Bench]) -> None:
    one = bench(run=False, drives=True, queue=1)
    for sequence in range(1, 3001):
        one.runner.expect(part(sequence), decide_by_ms=60_000)
    counts = one.counts()
    assert counts["offered"] == counts["dropped"]["full"] == 3000 - 1025
    one.runner.offer(part(3000), inspection(3000))
    assert one.counts()["offered"] == counts["offered"], "a part was offered twice"


def test_an_output_acts_before_a_busy_lane_goes_on(
    start: Callable[..., Outputs], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = ScriptedOutput(drives=True, follows=False)
    monkeypatch.setattr("edge_agent.outputs.outputs.make_output", lambda _to, _context: output)
    outputs = start(x={"to": {"type": "gpio", "chip": f"sim:{tmp_path}", "line": 1}, "max_late_ms": 60_000})
    until(lambda: outputs.states()["x"] == "safe")
    interval = sys.getswitchinterval()
    # The interpreter is nobody else's until this thread lets go of it.
    sys.setswitchinterval(30.0)
    try:
        first = []
        # Of many, since on a machine with other work a thread may need longer to be awake.
        for sequence in range(1, 101):
            outputs.offer(part(sequence), inspection(sequence))
            first.append(len(output.applied()) == sequence)
            until(lambda number=sequence: len(output.applied()) == number)
    finally:
        sys.setswitchinterval(interval)
    assert any(first)
