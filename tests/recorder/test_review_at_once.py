"""Reviews, new images and those that go, all at the same time: no line is lost, torn or wrong."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Dict, List, Set

import numpy as np
import pytest
from recorder.conftest import Rig
from support.waiting import until

from edge_agent.errors import ImageGoneError
from edge_agent.recorder import Query, Verdict
from edge_agent.training.ground_truth import read_ground_truth

PARTS = 400


class Person:
    """Reviews images of odd or of even numbers, as quickly as it goes, and takes some of it back.

    Args:
        rig: what is recorded.
        parity: 0 or 1.
    """

    def __init__(self, rig: Rig, parity: int) -> None:
        self._rig = rig
        self._parity = parity
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._seen: Set[str] = set()
        #: By image, as the manifest should have it.
        self.said: Dict[str, Verdict] = {}
        self.failures: List[BaseException] = []

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(20)

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self.look()
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.failures.append(error)

    def look(self) -> None:
        for image in self._rig.recorder.gallery().find("a", Query(reviewed=False, most=20)).images:
            number = int(image.name.rpartition("_")[2])
            if number % 2 == self._parity:
                try:
                    self._review(image.name, "wrong" if number % 3 else "right")
                except ImageGoneError:
                    continue

    def _review(self, name: str, verdict: Verdict) -> None:
        self._rig.recorder.review("a", name, verdict, "")
        self.said[name] = verdict
        self._seen.add(name)
        if len(self._seen) % 7 == 0:
            self._rig.recorder.review("a", name, None, "")
            del self.said[name]


def test_reviews_appends_and_removals_at_the_same_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Reviews come into the manifest as often as it goes; of 400 images 60 have room."""
    monkeypatch.setattr("edge_agent.recorder.folding._AFTER_S", 0.01)
    monkeypatch.setattr("edge_agent.recorder.folding._REST", 0)
    monkeypatch.setattr("edge_agent.recorder.settings._MIN_BYTES", 1)
    mask = np.full((64, 64, 3), 255, np.uint8)
    mask[:8, :8] = (255, 0, 0)
    rig.start()
    rig.give(1, anomalous=True, mask=mask)
    rig.settled()
    rig.start(bytes=60 * sum(path.stat().st_size for path in rig.files()))
    people = [Person(rig, parity) for parity in (0, 1)]
    for person in people:
        person.start()
    for number in range(2, PARTS + 1):
        rig.give(number, anomalous=True, mask=mask)
        until(lambda: rig.counts()["waiting"] < 20)
    counts = rig.settled()
    for person in people:
        person.end()
        person.look()
    until(lambda: not (rig.path / "a.reviews").exists())
    assert [person.failures for person in people] == [[], []]
    assert "internal error" not in caplog.text
    assert (counts["recorded"], counts["dropped"]) == (PARTS, {})
    assert counts["removed"]["bytes"] > PARTS // 2
    lines = {Path(line["source-ref"]).stem: line for line in rig.lines()}
    assert len(lines) == len(rig.lines()) == len(rig.numbers()) == rig.counts()["kept"]
    reviewed = {name: line["review"]["verdict"] for name, line in lines.items() if "review" in line}
    said = {**people[0].said, **people[1].said}
    assert reviewed == {name: verdict for name, verdict in said.items() if name in lines}
    assert reviewed
    assert len(read_ground_truth(rig.path / "a.manifest").examples) == len(lines)
