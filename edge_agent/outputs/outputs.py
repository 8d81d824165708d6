"""All outputs of an inspector: rebuilt one by one when the settings change, and told of every part."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Dict, List, Mapping

from edge_agent.clock import Clock
from edge_agent.inspection import Inspection
from edge_agent.outputs.base import Cause, OutputContext, Part, Stations
from edge_agent.outputs.books import OutputBooks
from edge_agent.outputs.kinds import make_output
from edge_agent.outputs.runner import Runner
from edge_agent.outputs.settings import OutputSettings

# An output that is replaced has its line or its file until it is closed.
_REPLACE_S = 2.0

# What a thread needs to be awake.
_LET_GO_S = 0.0001


class Outputs:
    """Safe to use from any thread. What tells of a part returns at once and raises nothing.

    Args:
        thing: the thing's name.
        clock: time.
        directory: what an output keeps lies beside it, in a directory of this name, a hyphen and the output's name.
        stations: the lanes, for outputs that trigger them.
    """

    def __init__(self, thing: str, clock: Clock, directory: Path, stations: Stations) -> None:
        self._thing = thing
        self._clock = clock
        self._directory = directory
        self._stations = stations
        self._changing = threading.Lock()
        self._books: Dict[str, OutputBooks] = {}
        # Replaced as a whole, so that the lanes read it without a lock.
        self._runners: Mapping[str, Runner] = {}

    def apply(self, settings: Mapping[str, OutputSettings]) -> List[str]:
        """Have the outputs that the settings say; one whose settings are the same goes on untouched.

        Returns:
            The names of those that were made, ended or both.
        """
        with self._changing:
            old = self._runners
            gone = {name for name, runner in old.items() if settings.get(name) != runner.settings}
            kept = {name: runner for name, runner in old.items() if name not in gone}
            self._runners = kept
            for name in gone:
                old[name].finish(0.0)
            for name in gone:
                old[name].close(_REPLACE_S)
            made = {name: self._make(name, wanted) for name, wanted in settings.items() if name not in kept}
            for runner in made.values():
                runner.start()
            self._runners = {name: {**kept, **made}[name] for name in settings}
            return sorted(gone | set(made))

    def expect(self, part: Part, decide_by_ms: float) -> None:
        """A part was captured, and is to be decided within `decide_by_ms` of that; 0: no limit."""
        for runner in self._of(part.lane):
            runner.expect(part, decide_by_ms)

    def offer(self, part: Part, inspection: Inspection) -> None:
        """A part was decided. Where an output acts on it at once, that goes first: this takes 0.2 ms then."""
        acting = [runner.offer(part, inspection) for runner in self._of(part.lane)]
        if any(acting):
            # The output's thread gets the interpreter when this one lets go of it; which is else after all that a lane
            # has to do for a verdict, or 5 ms.
            self._clock.sleep(_LET_GO_S)

    def give_up(self, part: Part, cause: Cause, detail: str) -> None:
        """A part will get no verdict. `detail`: the lane's own word for why."""
        for runner in self._of(part.lane):
            runner.give_up(part, cause, detail)

    def trouble(self, lane: str) -> None:
        """A lane cannot judge parts: its camera is gone or silent or shows the same picture, or it has stopped."""
        for runner in self._of(lane):
            runner.trouble()

    def status(self) -> Dict[str, Dict[str, Any]]:
        """By name, for the report."""
        return {name: runner.status() for name, runner in self._runners.items()}

    def states(self) -> Dict[str, str]:
        """By name."""
        return {name: runner.state() for name, runner in self._runners.items()}

    def waiting(self) -> int:
        """Actions that wait for their time, or for a slow output that is there."""
        return sum(runner.waiting() for runner in self._runners.values())

    def finish(self, seconds: float) -> None:
        """Nothing more will be told: each output does what waits, for at most so long, and goes to its safe state."""
        for runner in self._runners.values():
            runner.finish(seconds)

    def close(self, timeout: float) -> None:
        """Have every output safe and let go of, all within so many seconds; what still waits is dropped."""
        self.finish(0.0)
        until_ns = self._clock.monotonic_ns() + round(timeout * 1e9)
        for runner in self._runners.values():
            runner.close(max(0.0, (until_ns - self._clock.monotonic_ns()) / 1e9))

    def _of(self, lane: str) -> List[Runner]:
        return [runner for runner in self._runners.values() if runner.serves(lane)]

    def _make(self, name: str, settings: OutputSettings) -> Runner:
        directory = Path(f"{self._directory}-{name}")
        context = OutputContext(name, self._thing, self._clock, directory, settings.lanes, self._stations)
        books = self._books.setdefault(name, OutputBooks())
        return Runner(name, settings, make_output(settings.to, context), books, self._clock)
