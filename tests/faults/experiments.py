"""The experiments by name."""

from __future__ import annotations

from typing import Callable, Dict, NamedTuple

from faults import server_kill
from faults.outcome import Outcome


class Experiment(NamedTuple):
    run: Callable[[int, int], Outcome]
    full_count: int


EXPERIMENTS: Dict[str, Experiment] = {"server-kill": Experiment(server_kill.run, 100)}
