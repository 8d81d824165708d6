"""When a loop of a compiled operator is shared out to threads."""

from __future__ import annotations

from typing import List, Tuple

import pytest

from edge_agent.model.neo.pool import Race, ThreadPool


def drive(race: Race, alone: List[int], shared: List[int], runs: int) -> List[bool]:
    """What the race says, given what each run took in turn; the last value stays."""
    said = []
    for _ in range(runs):
        way = race.shared()
        times = shared if way else alone
        race.took(times.pop(0) if len(times) > 1 else times[0], shared=way)
        said.append(way)
    return said


@pytest.mark.parametrize(
    ("alone", "shared", "winner"),
    [
        ([100], [40], "shared"),
        ([5], [50], "alone"),
        ([900, 5], [50, 60, 70, 80], "alone"),  # the first run finds everything cold
        ([100], [500, 400, 300, 60], "shared"),  # three runs were in somebody's way
        ([50], [50], "alone"),
    ],
)
def test_both_ways_are_tried_in_turn_and_the_quicker_one_stays(
    alone: List[int], shared: List[int], winner: str
) -> None:
    said = drive(Race(), alone, shared, 20)
    assert said[:8] == [False, True] * 4
    assert said[8:] == [winner == "shared"] * 12


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_every_task_of_a_loop_runs_once(threads: int, count: int) -> None:
    pool = ThreadPool(threads)
    seen: List[int] = []

    def task(number: int) -> int:
        seen.append(number)
        return 0

    for _ in range(20):
        seen.clear()
        assert pool.run(task, count) == 0
        assert sorted(seen) == list(range(count))


def test_a_status_that_is_not_zero_is_the_loops() -> None:
    assert ThreadPool(2).run(lambda number: -number, 2) == -1


def test_a_loop_inside_a_loop_runs_where_it_is() -> None:
    pool = ThreadPool(2)
    inner: List[Tuple[int, int]] = []

    def outer(number: int) -> int:
        def task(within: int) -> int:
            inner.append((number, within))
            return 0

        return pool.run(task, 3)

    assert pool.run(outer, 2) == 0
    assert sorted(inner) == [(a, b) for a in range(2) for b in range(3)]
