"""The experiments by name."""

from __future__ import annotations

from typing import Callable, Dict, NamedTuple

from faults import mutated_requests, server_kill
from faults.outcome import Outcome


class Experiment(NamedTuple):
    run: Callable[[int, int], Outcome]
    full_count: int


EXPERIMENTS: Dict[str, Experiment] = {
    "mutated-requests": Experiment(mutated_requests.run, 10_000),
    "server-kill": Experiment(server_kill.run, 100),
}
