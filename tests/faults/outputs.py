"""What outputs talk to goes, hangs, refuses and comes back, while images keep coming.

Inspector, model server and nucleus are threads of one process. The PLC (pymodbus) and the broker (mosquitto) are
processes, killed and stopped; the webhook's server is a real one on loopback; the GPIO chip is the simulated one.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

from support.outputs import BrokerPeer, ChipPeer, HookPeer, Peer, PlcPeer
from support.plant import Plant
from support.waiting import until

from faults.outcome import Outcome, quantiles
from faults.plants import Load, plant_of, settled

_LANE = "a"
_PERIOD_S = 0.05
_WITHIN_S = 30.0
_SETTLE_S = 60.0
_SAFE_MS = 100.0
_FAILURES = 3


def _gone(peer: Peer, seconds: float) -> None:
    peer.stop()
    time.sleep(seconds)


def _hanging(peer: Peer, seconds: float) -> None:
    peer.hang()
    time.sleep(seconds)


def _answers_500(peer: Peer, seconds: float) -> None:
    assert isinstance(peer, HookPeer)
    peer.status = 500
    time.sleep(seconds)


def _start(peer: Peer) -> None:
    peer.start()


def _resume(peer: Peer) -> None:
    peer.resume()


def _answers_200(peer: Peer) -> None:
    assert isinstance(peer, HookPeer)
    peer.status = 200


#: By name: the output, what happens, what ends it.
FAULTS: Dict[str, Tuple[str, Callable[[Peer, float], None], Callable[[Peer], None]]] = {
    "plc gone": ("plc", _gone, _start),
    "plc hanging": ("plc", _hanging, _resume),
    "broker gone": ("broker", _gone, _start),
    "broker hanging": ("broker", _hanging, _resume),
    "webhook answers 500": ("hook", _answers_500, _answers_200),
    "webhook hanging": ("hook", _hanging, _resume),
    "chip gone": ("chip", _gone, _start),
}
#: The output is there, and its lane fails.
_CAMERA = "camera gone"


def run(count: int, seed: int) -> Outcome:
    """Every fault `count` times, in random order."""
    outcome = Outcome(count)
    with plant_of("classic") as plant, tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        kinds = {"plc": PlcPeer, "broker": BrokerPeer, "hook": HookPeer, "chip": ChipPeer}
        peers: Dict[str, Peer] = {}
        for name, kind in kinds.items():
            (Path(scratch) / name).mkdir()
            peers[name] = kind(Path(scratch) / name)
            peers[name].start()
        try:
            _Line(plant, peers, Path(scratch) / "parts.jsonl", outcome).run(count, random.Random(seed))
        finally:
            for peer in peers.values():
                peer.close()
    return outcome


class _Line:
    def __init__(self, plant: Plant, peers: Dict[str, Peer], record: Path, outcome: Outcome) -> None:
        self._plant = plant
        self._peers = peers
        self._record = record
        self._outcome = outcome
        self._load = Load(plant, _LANE, _PERIOD_S)
        self._under_fault: List[Tuple[int, int]] = []
        self._failures: List[int] = []
        self._unsafe: List[str] = []
        self._stuck: List[str] = []
        self._safe_ms: List[float] = []
        self._back_s: List[float] = []
        self._unbalanced = 0

    def run(self, count: int, choices: random.Random) -> None:
        plant = self._plant
        outputs: Dict[str, Any] = {name: {"to": peer.settings()} for name, peer in self._peers.items()}
        outputs["record"] = {"to": {"type": "jsonl", "path": str(self._record), "sync": "never"}, "queue": 10_000}
        plant.configure(plant.configuration({_LANE: plant.lane(_LANE)}, outputs=outputs))
        plant.start()
        self._load.start()
        self._load.go()
        order = [name for name in (*FAULTS, _CAMERA) for _ in range(count)]
        choices.shuffle(order)
        try:
            for name in self._peers:
                until(lambda name=name: self._works(name), _WITHIN_S)
            for fault in order:
                time.sleep(choices.uniform(0.2, 0.6))
                seconds = choices.uniform(0.1, 0.6)
                if fault == _CAMERA:
                    self._camera(seconds)
                else:
                    self._peer(fault, seconds)
                self._unbalanced += not all(output["counts"]["balanced"] for output in self._status().values())
        finally:
            self._load.rest()
            self._load.finish()
        whole = settled(plant, _LANE, _SETTLE_S)
        hook = self._peers["hook"]
        assert isinstance(hook, HookPeer)
        posted = self._until(lambda: self._output("hook")["spool"]["spooled"] == 0)
        report = plant.finish()
        self._judge(count, report, whole=whole, posted=posted, seen=[found.get("sequence") for found in hook.parts()])

    def _peer(self, fault: str, seconds: float) -> None:
        """One fault: seen, the breaker open; then over, and all well again by itself."""
        name, begin, end = FAULTS[fault]
        peer, before = self._peers[name], self._output(name)
        first = self._plant.given(_LANE)
        begin(peer, seconds)
        seen = (
            (lambda: self._output(name)["delivery"] == "waiting")
            if name == "hook"
            else (lambda: self._output(name)["state"] == "broken")
        )
        if not self._until(seen):
            self._stuck.append(f"{fault}: not seen")
        failed = sum(self._output(name)["counts"]["failed"].values()) - sum(before["counts"]["failed"].values())
        self._failures.append(failed)
        self._under_fault.append((first, self._plant.given(_LANE)))
        end(peer)
        ended = time.monotonic()
        if not self._until(lambda: self._works(name)):
            self._stuck.append(f"{fault}: not over")
        self._back_s.append(time.monotonic() - ended)
        if isinstance(peer, ChipPeer) and peer.levels()[0][1] != 1:
            self._unsafe.append(f"{fault}: the line was not safe first")
        if isinstance(peer, BrokerPeer) and fault == "broker gone" and peer.first_state() not in ("safe", None):
            self._unsafe.append(f"{fault}: the state was not safe first")

    def _camera(self, seconds: float) -> None:
        """The folder is taken away, like a mount: every output goes to its safe state and leaves it by itself."""
        folder = self._plant.root / _LANE
        self._load.rest()
        settled(self._plant, _LANE, _SETTLE_S)
        aside = folder.with_name("aside")
        folder.rename(aside)
        chip = self._peers["chip"]
        if not self._until(lambda: self._output("chip")["state"] == "safe"):
            self._stuck.append(f"{_CAMERA}: not seen")
        elif not chip.is_safe():
            self._unsafe.append(f"{_CAMERA}: the line is not safe")
        self._until(lambda: all(self._output(name)["state"] == "safe" for name in ("chip", "plc", "broker")))
        self._safe_ms += [self._output(name)["safe_after_fault_ms"]["last"] for name in ("chip", "plc", "broker")]
        time.sleep(seconds)
        aside.rename(folder)
        self._load.go()
        if not self._until(lambda: all(self._works(name) for name in self._peers)):
            self._stuck.append(f"{_CAMERA}: not over")

    def _works(self, name: str) -> bool:
        output = self._output(name)
        return bool(output["state"] == "working" and output.get("delivery", "working") == "working")

    def _output(self, name: str) -> Dict[str, Any]:
        return self._status()[name]

    def _status(self) -> Dict[str, Dict[str, Any]]:
        found: Dict[str, Dict[str, Any]] = self._plant.report()["outputs"]
        return found

    def _until(self, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _WITHIN_S
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _judge(self, count: int, report: Dict[str, Any], *, whole: bool, posted: bool, seen: List[Any]) -> None:
        given = self._plant.given(_LANE)
        healthy, faulty = self._latencies()
        safe_ms = sorted(self._safe_ms)
        self._outcome.figures.update(
            {
                "faults": count * (len(FAULTS) + 1),
                "frames": given,
                "inspection_ms": {"healthy": quantiles(healthy), "under_fault": quantiles(faulty)},
                "safe_after_fault_ms": quantiles(safe_ms),
                "well_again_after_s": quantiles(self._back_s),
                "most_failures_before_the_breaker_opened": max(self._failures),
                "outputs": report["outputs"],
                "accounting": report["accounting"][_LANE],
                "stuck": self._stuck[:5],
                "unsafe": self._unsafe[:5],
            }
        )
        self._outcome.bars.update(
            {
                "every frame was inspected and handed over": whole,
                "the books of every output balanced after every fault": self._unbalanced == 0
                and all(output["counts"]["balanced"] for output in report["outputs"].values()),
                "every fault was seen, and was over by itself": self._stuck == [],
                f"the breaker opened after at most {_FAILURES} failures": max(self._failures) <= _FAILURES,
                "what came back was safe before it was anything else": self._unsafe == [],
                f"nine of ten outputs that were there were safe within {_SAFE_MS:g} ms of the fault being seen": (
                    safe_ms[int(0.9 * len(safe_ms))] <= _SAFE_MS
                ),
                "the webhook's server has every part, in order": posted
                and list(dict.fromkeys(number for number in seen if number)) == list(range(1, given + 1)),
                "the record has every part": len(self._sequences()) == given,
                "the inspector ended well and in time": self._plant.well is True and self._plant.stopped_s < 5,
            }
        )

    def _inspections(self) -> List[Dict[str, Any]]:
        return [line for line in map(json.loads, self._record.read_text().splitlines()) if "is_anomalous" in line]

    def _sequences(self) -> List[int]:
        return [line["sequence"] for line in self._inspections()]

    def _latencies(self) -> Tuple[List[float], List[float]]:
        """From capture to verdict, in milliseconds: without a fault, and under one."""
        healthy: List[float] = []
        faulty: List[float] = []
        for line in self._inspections():
            under = any(first < line["sequence"] <= last for first, last in self._under_fault)
            (faulty if under else healthy).append(line["timings_ms"]["total"])
        return healthy, faulty
