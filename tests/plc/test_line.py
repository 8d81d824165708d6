"""A simulated PLC plays a line with a whole inspector."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from support.plant import Plant
from support.waiting import until

from edge_agent.clock import SystemClock
from edge_agent.modbus.handshake_map import Result, Status
from edge_agent.plc_simulator import PlcSettings, SimulatedPlc
from edge_agent.plc_simulator.program import Program


class Line:
    """A plant with one lane, `a`, and its PLC; its parts have the numbers from 1001 on."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.results: List[Result] = []
        settings = PlcSettings(scan_ms=2, patience_s=60, silent_s=1)
        self.plc = SimulatedPlc(settings, SystemClock(), self.results.append)
        self.plc.start()
        self._numbers = itertools.count(1001)

    def configuration(self, *, lane: Dict[str, Any], **to: Any) -> Dict[str, Any]:
        told = {"type": "plc", "host": "127.0.0.1", "port": self.plc.port, "poll_ms": 2, "timeout_s": 2, **to}
        station = {"to": told, "lanes": ["a"], "when": {"verdict": "anomalous"}}
        lanes = {"a": self.plant.lane("a", trigger={"type": "plc"}, **lane)}
        return self.plant.configuration(lanes, outputs={"station": station})

    def start(self, lane: Any = None, **to: Any) -> None:
        self.plant.configure(self.configuration(lane=lane or {}, **to))
        self.plant.start()
        until(self.plc.online, what="the inspector's heartbeat")

    def parts(self, count: int = 1) -> None:
        for _ in range(count):
            self.plant.give("a")
            self.plc.part(next(self._numbers))

    def station(self) -> Dict[str, Any]:
        found: Dict[str, Any] = self.plant.report()["outputs"]["station"]
        return found

    def judged(self, count: int) -> None:
        until(lambda: len(self.results) == count, 60, f"result {count}")
        assert self.plc.books()["balanced"]
        assert self.station()["counts"]["balanced"]


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    plant = Plant(tmp_path, "classic", monkeypatch.setenv)
    made = Line(plant)
    yield made
    plant.close()
    made.plc.stop()


def test_every_part_is_triggered_inspected_and_judged(line: Line) -> None:
    line.start()
    line.parts(30)
    line.judged(30)
    assert [result.part for result in line.results] == list(range(1001, 1031))
    books = line.plc.books()
    assert (books["acknowledged"], books["missed"], books["strays"], books["overruns"]) == (30, 0, 0, 0)
    # What the PLC was told is what is published.
    until(lambda: len(line.plant.inspections()) == 30)
    published = {one["sequence"]: one for one in line.plant.inspections()}
    for result in line.results:
        inspection = published[result.sequence]
        assert result.verdict == (2 if inspection["is_anomalous"] else 1)
        assert result.rule == inspection["is_anomalous"]
        assert result.confidence == round(inspection["confidence"] * 1000)
        assert inspection["trigger_id"]
    assert line.station()["handshake"]["triggers"] == {"acknowledged": 30, "missed": 0}
    until(lambda: line.station()["handshake"]["results"] == {"read": 30, "waiting": 0, "overrun": 0})
    assert not line.plc.status().safe
    report = line.plant.finish()
    assert report["outputs"]["station"]["state"] == "stopped"
    status = line.plc.status()
    assert (status.online, status.trigger_ready, status.safe, status.result) == (False, False, True, None)


@pytest.mark.parametrize("buffer", [1, 2])
def test_a_trigger_that_was_ready_is_never_missed(line: Line, buffer: int) -> None:
    line.start(lane={"buffer": buffer})
    for _ in range(8):
        line.parts(10)
        time.sleep(0.05)  # so that some are asked for while others are being inspected
    line.judged(80)
    assert line.plc.books()["missed"] == 0
    assert line.station()["handshake"]["triggers"] == {"acknowledged": 80, "missed": 0}


def test_a_plc_that_reads_nothing_has_eight_results_kept(line: Line) -> None:
    line.start()
    line.plc.acknowledge(results=False)
    line.parts(11)
    until(lambda: line.station()["handshake"]["results"] == {"read": 0, "waiting": 8, "overrun": 3}, 60)
    until(lambda: line.plc.books()["overruns"] >= 1)
    line.plc.acknowledge(results=True)
    line.judged(8)
    assert [result.part for result in line.results] == list(range(1001, 1009))
    until(lambda: not line.plc.status().buffer_overrun)
    assert line.plc.status().lost == 3
    assert line.plc.books()["awaited"] == 3


def test_a_network_that_goes_loses_no_result_that_waits(line: Line) -> None:
    line.start()
    line.parts(3)
    line.judged(3)
    line.plc.acknowledge(results=False)
    line.parts(2)
    until(lambda: line.station()["handshake"]["results"]["waiting"] == 2)
    line.plc.unplug()
    until(lambda: line.station()["state"] != "working")
    line.plc.acknowledge(results=True)
    line.plc.plug()
    line.judged(5)
    line.parts(3)
    line.judged(8)
    assert [result.part for result in line.results] == list(range(1001, 1009))
    assert line.station()["state"] == "working"


def test_a_plc_whose_program_stands_still_is_noticed(line: Line) -> None:
    line.start(plc_silent_s=0.3)
    line.parts()
    line.judged(1)
    line.plc.halt()
    until(lambda: line.station()["state"] == "broken")
    line.plc.resume()
    until(lambda: line.station()["state"] == "safe")
    until(lambda: line.plc.status().safe)
    line.parts(2)
    line.judged(3)
    until(lambda: not line.plc.status().safe)


def test_a_lane_that_is_paused_is_not_ready(line: Line) -> None:
    line.start()
    line.parts()
    line.judged(1)
    assert line.plant.operation.inspector is not None
    lane = line.plant.operation.inspector.lane("a")
    lane.pause()
    until(lambda: not line.plc.status().trigger_ready)
    line.parts()
    lane.resume()
    line.judged(2)
    assert line.plc.books()["missed"] == 0


def test_a_trigger_without_an_image_becomes_an_undecided_result(line: Line) -> None:
    line.start(lane={"acquire_within_s": 0.2})
    line.parts()
    line.judged(1)
    line.plc.part(2000)  # there is no image of it
    line.judged(2)
    assert line.results[1] == Result(verdict=3, rule=True, cause=3, part=2000)


def test_another_run_of_the_inspector_is_another_session(line: Line) -> None:
    line.start()
    first = line.plc.status().session
    line.plc.acknowledge(results=False)
    line.parts()
    until(lambda: line.plc.status().result)
    line.plant.finish()
    line.plant.stop.clear()
    line.plant.start()
    until(lambda: line.plc.status().session not in (0, first))
    until(lambda: line.plc.books()["without_result"] == 1)
    line.plc.acknowledge(results=True)
    line.parts()
    line.judged(1)
    assert line.results[0].part == 1002


def test_an_acknowledgement_that_is_up_stays_until_it_was_seen() -> None:
    """The inspector may be about to look: else the same result would be shown again."""
    program = Program(PlcSettings(), lambda _result: None)
    shown = Status(online=True, heartbeat=1, result=Result(verdict=1, part=1001))
    assert program.scan(shown, 0).results_acknowledged
    program.acknowledges = False
    assert program.scan(shown, 1).results_acknowledged
    assert not program.scan(Status(online=True, heartbeat=1), 2).results_acknowledged
    assert not program.scan(shown, 3).results_acknowledged
