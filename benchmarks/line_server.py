"""A model server that writes down how long each call took.

    python -m benchmarks.line_server MODELS SOCKET THREADS UNITS NOTES

One line for each verdict: monotonic clock in nanoseconds, then milliseconds of waiting for its turn and of the model's own
work (pre-processing, inference, post-processing).
"""

from __future__ import annotations

import signal
import sys
import threading
from io import RawIOBase
from pathlib import Path
from typing import List, NamedTuple

from edge_agent.allocator import keep_freed_memory
from edge_agent.clock import SystemClock
from edge_agent.model.verdict import StageTimings
from edge_agent.server import InferenceUnits, ModelServer
from edge_agent.server.observer import Unobserved


class Note(NamedTuple):
    """Of one call: when it was done, on the monotonic clock; milliseconds."""

    done_ns: int
    wait: float
    model: float


def read_notes(path: Path) -> List[Note]:
    rows = (line.split() for line in path.read_text().splitlines())
    return [Note(int(done_ns), float(wait), float(model)) for done_ns, wait, model in rows]


class _Calls(Unobserved):
    """A ServerObserver."""

    def __init__(self, notes: RawIOBase) -> None:
        self._notes = notes

    def call(self, _method: str) -> _Call:
        return _Call(self._notes)


class _Call(Unobserved):
    def __init__(self, notes: RawIOBase) -> None:
        self._notes = notes
        self._waited_ms = 0.0

    def has_turn(self, waited_ms: float) -> None:
        self._waited_ms = waited_ms

    def computed(self, timings: StageTimings) -> None:
        model_ms = timings.preprocess + timings.inference + timings.postprocess
        self._notes.write(f"{SystemClock().monotonic_ns()} {self._waited_ms:.3f} {model_ms:.3f}\n".encode())


def main() -> None:
    models, socket, threads, units, notes = sys.argv[1:]
    keep_freed_memory()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    # Without a buffer, which the calls of two engines would share.
    with Path(notes).open("wb", buffering=0) as file:
        wanted = {path.name: InferenceUnits(int(units), int(units)) for path in Path(models).iterdir()}
        server = ModelServer(models, socket, int(threads), units=wanted, observer=_Calls(file))
        server.start()
        stop.wait()
        server.stop(1.0)


if __name__ == "__main__":
    main()
