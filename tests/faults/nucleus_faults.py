"""The nucleus goes offline, is full, answers slowly, restarts: in both modes, while images keep coming.

Inspector, model server and nucleus are threads of one process; between them are their real sockets and shared memory.
"""

from __future__ import annotations

import random
import time
from typing import Callable, Dict, List

from support.plant import Plant

from faults.outcome import Outcome
from faults.plants import Load, plant_of, sequences, settled

MODES = ("classic", "lite")
_LANE = "a"
_PERIOD_S = 0.05
_SETTLE_S = 60.0


def _offline(plant: Plant, seconds: float) -> None:
    plant.nucleus.offline()
    time.sleep(seconds)
    plant.nucleus.online()


def _full(plant: Plant, seconds: float) -> None:
    plant.nucleus.full()
    time.sleep(seconds)
    plant.nucleus.reset()


def _slow(plant: Plant, seconds: float) -> None:
    plant.nucleus.slow(seconds / 2)
    time.sleep(2 * seconds)
    plant.nucleus.slow(0)


def _restarted(plant: Plant, seconds: float) -> None:
    plant.nucleus.restart(seconds)


FAULTS: Dict[str, Callable[[Plant, float], None]] = {
    "offline": _offline,
    "full": _full,
    "slow": _slow,
    "restarted": _restarted,
}


def run(count: int, seed: int) -> Outcome:
    """Every fault `count` times in each mode."""
    outcome = Outcome(count)
    choices = random.Random(seed)
    for mode in MODES:
        with plant_of(mode) as plant:
            _one_mode(plant, mode, count, choices, outcome)
    return outcome


def _one_mode(plant: Plant, mode: str, count: int, choices: random.Random, outcome: Outcome) -> None:
    plant.configure(plant.configuration({_LANE: plant.lane(_LANE)}))
    plant.start()
    load = Load(plant, _LANE, _PERIOD_S)
    load.start()
    order: List[str] = [name for name in FAULTS for _ in range(count)]
    choices.shuffle(order)
    unbalanced = 0
    slowest = 0.0
    unsettled: List[str] = []
    try:
        for name in order:
            load.go()
            time.sleep(choices.uniform(0.1, 0.3))
            FAULTS[name](plant, choices.uniform(0.1, 0.6))
            unbalanced += not all(books["balanced"] for books in plant.report()["accounting"].values())
            load.rest()
            started = time.monotonic()
            if not settled(plant, _LANE, _SETTLE_S):
                unsettled.append(name)
            slowest = max(slowest, time.monotonic() - started)
    finally:
        load.finish()
    report = plant.finish()
    books = report["accounting"][_LANE]
    outcome.figures[mode] = {
        "faults": len(order),
        "frames": plant.given(_LANE),
        "messages": len(plant.messages("inspections")),
        "slowest_to_settle_s": round(slowest, 2),
        "accounting": books,
    }
    outcome.bars.update(
        {
            f"{mode}: the books balanced at the end of every fault": unbalanced == 0,
            f"{mode}: after each fault every frame was inspected and handed over": unsettled == [],
            f"{mode}: every inspection was published, in order": sequences(plant, _LANE)
            == list(range(1, plant.given(_LANE) + 1)),
            f"{mode}: the inspector ended well and in time": plant.well is True and plant.stopped_s < 5,
        }
    )
