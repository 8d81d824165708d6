"""The configuration changes and changes, right and wrong, while a lane that nobody touches is at work.

Inspector, model server and nucleus are threads of one process; between them are their real sockets and shared memory.
On the classic nucleus a wrong configuration is rejected before it lands, on nucleus lite after that.
"""

from __future__ import annotations

import random
import time
from typing import Any, Callable, Dict, List, Tuple

from support.plant import MODEL, OTHER, Plant

from edge_agent.errors import NucleusError
from faults.outcome import Outcome
from faults.plants import Load, plant_of, sequences, settled

_UNTOUCHED = "untouched"
_CHURNED = ("b", "c")
_PERIOD_S = 0.1
_WITHIN_S = 30.0
_SETTLE_S = 60.0

Change = Dict[str, Any]


def _right(choices: random.Random) -> Change:
    lane = choices.choice(_CHURNED)
    changes: List[Callable[[], Change]] = [
        lambda: {"lanes": {lane: {"model": choices.choice((MODEL, OTHER))}}},
        lambda: {"lanes": {lane: {"buffer": choices.randint(1, 4), "policy": choices.choice(("wait", "latest"))}}},
        lambda: {"lanes": {lane: {"threshold": round(choices.random(), 6)}}},
        lambda: {"lanes": {lane: {"deadline_s": round(choices.uniform(2, 4), 6)}}},
        lambda: {"publish": {"messages_per_s": round(choices.uniform(10, 20), 6)}},
        lambda: {"health": {"every_s": round(choices.uniform(60, 90), 6)}},
        lambda: {"confirm": {"by": choices.choice(("echo", "none"))}},
        lambda: {"commands": {"sources": choices.choice((["local"], ["iot_core", "local"]))}},
    ]
    return choices.choice(changes)()


def _wrong(choices: random.Random) -> Tuple[Change, List[str], Change]:
    """A change, what its refusal has to name, and what takes it back."""
    lane = choices.choice(_CHURNED)
    cases: List[Tuple[Change, List[str], Change]] = [
        ({"lanes": {lane: {"buffer": 99}}}, [f"lanes.{lane}", "buffer"], {"lanes": {lane: {"buffer": 1}}}),
        ({"lanes": {lane: {"policy": "hope"}}}, [f"lanes.{lane}.policy"], {"lanes": {lane: {"policy": "wait"}}}),
        ({"lanes": {lane: {"model": ""}}}, [f"lanes.{lane}", "model"], {"lanes": {lane: {"model": MODEL}}}),
        ({"lanes": {lane: {"deadline_s": "soon"}}}, [f"lanes.{lane}.deadline_s"], {"lanes": {lane: {"deadline_s": 2}}}),
        ({"publish": {"qos": 2}}, ["publish.qos"], {"publish": {"qos": 1}}),
        (
            {"publish": {"topic": "edge-agent/#"}},
            ["publish.topic"],
            {"publish": {"topic": "edge-agent/{thing}/inspections"}},
        ),
        ({"health": {"every_s": 1}}, ["health", "every_s"], {"health": {"every_s": 60}}),
        # Right and wrong in one: refused whole.
        (
            {"lanes": {lane: {"threshold": 0.25}}, "confirm": {"by": "hope"}},
            ["confirm.by"],
            {"confirm": {"by": "none"}},
        ),
    ]
    return choices.choice(cases)


def run(count: int, seed: int) -> Outcome:
    """`count` changes, half of them in each mode of the nucleus, a third of them wrong."""
    outcome = Outcome(count)
    choices = random.Random(seed)
    for mode, changes in (("classic", count - count // 2), ("lite", count // 2)):
        with plant_of(mode) as plant:
            _Churn(plant, mode, choices, outcome).run(changes)
    return outcome


class _Churn:
    def __init__(self, plant: Plant, mode: str, choices: random.Random, outcome: Outcome) -> None:
        self._plant = plant
        self._mode = mode
        self._choices = choices
        self._outcome = outcome
        self._unnamed: List[str] = []
        self._stuck: List[str] = []
        self._slowest = 0.0

    def run(self, changes: int) -> None:
        plant = self._plant
        plant.configure(plant.configuration({name: plant.lane(name) for name in (_UNTOUCHED, *_CHURNED)}))
        inspector = plant.start()
        for name in _CHURNED:
            plant.give(name, 2)
        untouched = inspector.lane(_UNTOUCHED)
        load = Load(plant, _UNTOUCHED, _PERIOD_S)
        load.start()
        load.go()
        wrong = 0
        unbalanced = 0
        try:
            for _ in range(changes):
                started = time.monotonic()
                if self._choices.random() < 1 / 3:
                    wrong += 1
                    self._do_wrong()
                else:
                    self._do_right()
                self._slowest = max(self._slowest, time.monotonic() - started)
                unbalanced += not all(books["balanced"] for books in plant.report()["accounting"].values())
        finally:
            load.rest()
            load.finish()
        whole = settled(plant, _UNTOUCHED, _SETTLE_S)
        same = inspector.lane(_UNTOUCHED) is untouched
        report = plant.finish()
        self._outcome.figures[self._mode] = {
            "changes": changes,
            "wrong": wrong,
            "slowest_change_s": round(self._slowest, 2),
            "configuration": report["configuration"],
            "accounting": report["accounting"],
            "not_named": self._unnamed[:5],
            "not_taken": self._stuck[:5],
        }
        numbers = list(range(1, plant.given(_UNTOUCHED) + 1))
        self._outcome.bars.update(
            {
                f"{self._mode}: the untouched lane is the same one and lost no frame": same and whole,
                f"{self._mode}: its inspections were published, in order": sequences(plant, _UNTOUCHED) == numbers,
                f"{self._mode}: every right configuration came into force": self._stuck == [],
                f"{self._mode}: every wrong one was refused whole, with the path": self._unnamed == [],
                f"{self._mode}: the books balanced after every change": unbalanced == 0,
                f"{self._mode}: the inspector ended well and in time": plant.well is True and plant.stopped_s < 5,
            }
        )

    def _do_right(self) -> None:
        before = self._now()
        change = _right(self._choices)
        if self._plant.nucleus.configure(change):
            self._wait(before, change)

    def _do_wrong(self) -> None:
        settings = self._plant.operation.inspector.settings  # type: ignore[union-attr]
        change, words, back = _wrong(self._choices)
        if self._mode == "classic":
            try:
                self._plant.configure(change)
                said = "it was accepted"
            except NucleusError as error:
                said = str(error)
            self._note(change, words, said, settings)
            return
        before = self._now()
        self._plant.configure(change)
        self._wait(before, change)
        self._note(change, words, self._plant.report()["configuration"].get("problem", "it was accepted"), settings)
        before = self._now()
        self._plant.configure(back)
        self._wait(before, back)

    def _note(self, change: Change, words: List[str], said: str, settings: Any) -> None:
        unchanged = self._plant.operation.inspector.settings == settings  # type: ignore[union-attr]
        if not unchanged or not all(word in said for word in words):
            self._unnamed.append(f"{change}: {said}")

    def _now(self) -> int:
        configuration = self._plant.report()["configuration"]
        return int(configuration["changes_accepted"] + configuration["changes_refused"])

    def _wait(self, before: int, change: Change) -> None:
        """Until the inspector has judged one more configuration."""
        deadline = time.monotonic() + _WITHIN_S
        while self._now() == before:
            if time.monotonic() > deadline:
                self._stuck.append(str(change))
                return
            time.sleep(0.02)
