"""The handshake without a network: its levels step by step, and against the simulated PLC's program at random."""

from __future__ import annotations

import random
from typing import Any, List

import pytest

from edge_agent.modbus.handshake_map import BUFFERED_RESULTS, Commands, Result, Status
from edge_agent.outputs.handshake import Handshake
from edge_agent.plc_simulator.program import Program
from edge_agent.plc_simulator.settings import PlcSettings


def _status(handshake: Handshake, **others: Any) -> Status:
    return handshake.status(**{"ready": True, "inspecting": False, "safe": False, "heartbeat": 1, **others})


@pytest.fixture
def handshake() -> Handshake:
    """One that has heard the PLC."""
    made = Handshake(session=7)
    assert made.look(Commands()) is None
    return made


def test_a_trigger_is_acknowledged_until_it_falls(handshake: Handshake) -> None:
    assert _status(handshake).trigger_ready
    assert handshake.look(Commands(trigger=True, part=5)) == 5
    handshake.answer(accepted=True)
    for _ in range(3):
        status = _status(handshake)
        assert (status.trigger_ready, status.trigger_acknowledged, status.missed_acquisition) == (False, True, False)
        assert handshake.look(Commands(trigger=True, part=5)) is None
    assert handshake.look(Commands()) is None
    status = _status(handshake)
    assert (status.trigger_ready, status.trigger_acknowledged) == (True, False)


def test_a_trigger_that_is_not_taken_is_missed_until_it_falls(handshake: Handshake) -> None:
    assert handshake.look(Commands(trigger=True)) == 0
    handshake.answer(accepted=False)
    assert handshake.look(Commands(trigger=True)) is None
    status = _status(handshake)
    assert (status.trigger_ready, status.trigger_acknowledged, status.missed_acquisition) == (False, False, True)
    handshake.look(Commands())
    assert not _status(handshake).missed_acquisition
    assert handshake.counts()["triggers"] == {"acknowledged": 0, "missed": 1}


def test_it_is_ready_when_its_lane_is(handshake: Handshake) -> None:
    assert not _status(handshake, ready=False).trigger_ready
    assert _status(handshake, inspecting=True).inspecting


def test_a_trigger_that_was_up_before_it_listened_is_missed() -> None:
    handshake = Handshake(session=7)
    assert not _status(handshake).trigger_ready
    assert handshake.look(Commands(trigger=True, part=3)) is None
    assert _status(handshake).missed_acquisition
    handshake.look(Commands())
    assert handshake.look(Commands(trigger=True, part=4)) == 4


def test_a_trigger_it_took_before_it_lost_the_plc_stays_taken(handshake: Handshake) -> None:
    handshake.look(Commands(trigger=True, part=5))
    handshake.answer(accepted=True)
    handshake.away()
    assert handshake.look(Commands(trigger=True, part=5)) is None
    assert _status(handshake).trigger_acknowledged
    handshake.away()
    assert not _status(handshake).trigger_ready
    # Meanwhile that one fell, and another one rose.
    assert handshake.look(Commands(trigger=True, part=6)) is None
    assert _status(handshake).missed_acquisition
    assert handshake.counts()["triggers"] == {"acknowledged": 1, "missed": 1}


def test_results_are_shown_one_by_one_and_each_until_it_is_acknowledged(handshake: Handshake) -> None:
    handshake.give(Result(1, part=1))
    handshake.give(Result(2, part=2))
    assert _status(handshake).result is None  # nobody looked whether the last acknowledgement is down
    handshake.look(Commands())
    for _ in range(3):
        shown = _status(handshake)
        assert (shown.result, shown.waiting) == (Result(1, part=1), 2)
        handshake.look(Commands())
    handshake.look(Commands(results_acknowledged=True))
    assert _status(handshake).result is None
    handshake.look(Commands(results_acknowledged=True))
    assert _status(handshake).result is None
    handshake.look(Commands())
    assert _status(handshake).result == Result(2, part=2)


def test_eight_results_are_kept_and_the_next_ones_counted_as_lost(handshake: Handshake) -> None:
    for part in range(11):
        handshake.give(Result(1, part=part))
    status = _status(handshake)
    assert (status.waiting, status.lost, status.buffer_overrun) == (8, 3, True)
    seen = []
    for _ in range(9):
        handshake.look(Commands())
        shown = _status(handshake).result
        seen += [shown.part] if shown is not None else []
        handshake.look(Commands(results_acknowledged=True))
    assert seen == list(range(8))
    assert _status(handshake).buffer_overrun
    handshake.look(Commands(clear_overrun=True))
    assert not _status(handshake).buffer_overrun
    for part in range(9):
        handshake.give(Result(1, part=part))
    handshake.look(Commands(clear_overrun=True))  # still the same: it saw nothing of the new one
    assert _status(handshake).buffer_overrun
    assert handshake.counts()["results"] == {"read": 8, "waiting": 8, "overrun": 4}


class _World:
    """Both programs and the registers between them, driven step by step."""

    def __init__(self, seed: int) -> None:
        self.choices = random.Random(seed)
        self.handshake = Handshake(session=7)
        self.seen: List[int] = []
        settings = PlcSettings(patience_s=1e6, result_within_s=1e6, silent_s=1e6)
        self.program = Program(settings, lambda result: self.seen.append(result.part))
        self.commands, self.status = Commands(), Status()
        self.now_ns = 0
        self.parts = 0
        self.taken: List[int] = []
        self.to_judge: List[int] = []
        self.connected = True

    def part(self) -> None:
        self.parts += 1
        self.program.part(self.parts, self.now_ns)

    def scan(self) -> None:
        self.commands = self.program.scan(self.status, self.now_ns)

    def look(self) -> None:
        if not self.connected:
            self.handshake.away()
            self.connected = True
        part = self.handshake.look(self.commands)
        if part is not None:
            accepted = self.choices.random() < 0.8
            self.handshake.answer(accepted=accepted)
            if accepted:
                self.taken.append(part)
                self.to_judge.append(part)
        self.status = _status(self.handshake, ready=len(self.to_judge) < 4, heartbeat=self.now_ns % 65_536)

    def judge(self) -> None:
        # A PLC that reads has room for what its own trigger asked for.
        if self.to_judge and self.handshake.counts()["results"]["waiting"] < BUFFERED_RESULTS:
            self.handshake.give(Result(1, part=self.to_judge.pop(0)))

    def step(self, *, losses: bool) -> None:
        self.now_ns += 1
        what = self.choices.random()
        if what < 0.2:
            self.part()
        elif what < 0.5:
            self.scan()
        elif what < 0.8:
            self.look()
        elif what < 0.95 or not losses:
            self.judge()
        else:
            # What it wrote last did not arrive, or its answer did not.
            kept = self.status
            self.look()
            if self.choices.random() < 0.5:
                self.status = kept
            self.connected = False

    def finish(self) -> None:
        for _ in range(40 * (self.parts + 1)):
            self.now_ns += 1
            self.scan()
            self.look()
            self.judge()


@pytest.mark.parametrize("seed", range(20))
def test_every_trigger_that_was_taken_gets_its_result_once_and_in_order(seed: int) -> None:
    world = _World(seed)
    for _ in range(600):
        world.step(losses=False)
        assert world.program.books.balanced()
    world.finish()
    books = world.program.books
    assert world.seen == world.taken
    assert books.acknowledged == len(world.taken) == books.good
    assert books.acknowledged + books.missed == world.parts > 20
    assert (books.strays, books.without_result, books.awaited) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_a_connection_that_breaks_loses_no_result(seed: int) -> None:
    world = _World(seed)
    for _ in range(600):
        world.step(losses=True)
        assert world.program.books.balanced()
    world.finish()
    books = world.program.books
    # A trigger whose acknowledgement was lost is seen in the next status; its result comes all the same.
    assert world.seen == world.taken
    assert (books.strays, books.without_result, books.awaited) == (0, 0, 0)
    assert books.acknowledged + books.missed == world.parts
