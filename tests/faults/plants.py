"""What the experiments with a nucleus of their own share: a plant, images that keep coming, and what must add up."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

from support.plant import Plant

# Images that stay behind the newest inspected one.
_KEEP = 50


@contextlib.contextmanager
def plant_of(mode: str) -> Iterator[Plant]:
    """A plant in this process, whose environment is as before afterwards."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        plant = Plant(Path(scratch), mode, os.environ.__setitem__)
        try:
            yield plant
        finally:
            plant.close()
            os.environ.clear()
            os.environ.update(before)


class Load(threading.Thread):
    """Gives images to one lane at a steady rate, until it is told to rest."""

    def __init__(self, plant: Plant, lane: str, period_s: float) -> None:
        super().__init__(name="load", daemon=True)
        self._plant = plant
        self._lane = lane
        self._period_s = period_s
        self._tidied = 0
        self._end = threading.Event()
        self._work = threading.Event()
        self._resting = threading.Event()

    def run(self) -> None:
        while not self._end.is_set():
            if not self._work.is_set():
                self._resting.set()
                self._work.wait(0.05)
                continue
            self._plant.give(self._lane)
            self._tidy()
            self._end.wait(self._period_s)

    def _tidy(self) -> None:
        """A folder with thousands of files costs the camera more than the experiment is about."""
        inspector = self._plant.operation.inspector
        books = inspector.accounting().get(self._lane) if inspector is not None else None
        while books is not None and self._tidied + _KEEP < books.inspected:
            self._tidied += 1
            (self._plant.root / self._lane / f"{self._tidied:06d}.png").unlink()

    def go(self) -> None:
        self._resting.clear()
        self._work.set()

    def rest(self) -> None:
        """Returns when no image comes any more."""
        self._work.clear()
        self._resting.clear()
        self._resting.wait(10)

    def finish(self) -> None:
        self._end.set()
        self._work.set()
        self.join(10)


def settled(plant: Plant, lane: str, seconds: float) -> bool:
    """Whether every image of a lane is inspected and handed over within so many seconds, and the books say so."""
    deadline = time.monotonic() + seconds
    while True:
        books: Dict[str, Any] = plant.report()["accounting"].get(lane, {})
        if books and books["delivered"] == books["captured"] == plant.given(lane):
            return bool(books["balanced"]) and not (books["dropped"] or books["failed"] or books["expired"])
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def sequences(plant: Plant, lane: str) -> List[int]:
    """Of a lane's published inspections, in the order of their first publication."""
    return list(dict.fromkeys(one["sequence"] for one in plant.inspections() if one["camera"] == lane))
