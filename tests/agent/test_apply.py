"""Changes of a running inspector: what is untouched goes on and loses nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from PIL import Image
from support.messages import published
from support.packages import make_package
from support.waiting import until

from edge_agent.agent import Inspector, InspectorSettings, read_settings
from edge_agent.clock import SystemClock
from edge_agent.errors import ConfigError
from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.nucleus import LocalNucleus
from edge_agent.server import ModelServer

MODEL = "com.example.Colours"
OTHER = "com.example.Others"


class Plant:
    """A server with two models, a nucleus, folders for lanes, and one running inspector."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        for model in (MODEL, OTHER):
            make_package(root / "models" / model)
        self.server = ModelServer(root / "models", str(root / "server.sock"), threads=1)
        self.server.start()
        self.nucleus = LocalNucleus(root / "nucleus.sock", record=root / "record.jsonl")
        self.nucleus.start()
        for name, value in self.nucleus.environment().items():
            monkeypatch.setenv(name, value)
        self.stop = threading.Event()
        self._given: Dict[str, int] = {}

    def settings(self, lanes: Dict[str, Dict[str, Any]], **others: Any) -> InspectorSettings:
        for name in lanes:
            (self.root / name).mkdir(exist_ok=True)
        document = {
            "socket": self.server.socket,
            "publish": {"topic": "test/inspections"},
            "spool": {"path": str(self.root / "spool")},
            "lanes": {
                name: {
                    "model": MODEL,
                    "camera": {"type": "folder", "path": str(self.root / name), "poll_s": 0.02, "settle_s": 0},
                    **lane,
                }
                for name, lane in lanes.items()
            },
            **others,
        }
        return read_settings(document, "test", thing="press-7")

    def start(self, settings: InspectorSettings) -> Inspector:
        self.inspector = Inspector(settings, thing="press-7", connect=IpcClient.connect, clock=SystemClock())
        self._thread = threading.Thread(target=self.inspector.run, args=(self.stop,))
        self._thread.start()
        return self.inspector

    def give(self, lane: str, count: int = 1) -> None:
        """New images, each moved in whole."""
        for _ in range(count):
            number = self._given[lane] = self._given.get(lane, 0) + 1
            draft = self.root / f"draft-{lane}.png"
            Image.new("RGB", (320, 240), (128, 128, 128)).save(draft)
            draft.rename(self.root / lane / f"{number:06d}.png")

    def inspected(self, lane: str) -> int:
        return self.inspector.accounting()[lane].inspected

    def messages(self) -> List[Dict[str, Any]]:
        return published(self.root / "record.jsonl")

    def close(self) -> None:
        self.stop.set()
        self._thread.join(20)
        self.nucleus.stop()
        self.server.stop(1.0)
        assert not self._thread.is_alive()
        assert all(books.balanced() for books in self.inspector.accounting().values())


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    plant = Plant(tmp_path, monkeypatch)
    yield plant
    plant.close()


def test_an_untouched_lane_loses_no_frame(plant: Plant) -> None:
    inspector = plant.start(plant.settings({"kept": {}, "changed": {}}))
    until(lambda: set(inspector.lanes()) == {"kept", "changed"})
    kept = inspector.lane("kept")
    for round_ in range(1, 11):
        plant.give("kept", 5)
        inspector.apply(plant.settings({"kept": {}, "changed": {"buffer": 1 + round_ % 2}}))
        assert inspector.lane("kept") is kept
    until(lambda: plant.inspected("kept") == 50)
    books = inspector.accounting()["kept"]
    assert (books.captured, books.dropped, books.failed) == (50, {}, {})


def test_lanes_come_and_go(plant: Plant) -> None:
    inspector = plant.start(plant.settings({"a": {}}))
    plant.give("a")
    until(lambda: plant.inspected("a") == 1)
    inspector.apply(plant.settings({"b": {}}))
    assert set(inspector.lanes()) == {"b"}
    plant.give("b", 2)
    until(lambda: plant.inspected("b") == 2)
    with pytest.raises(ConfigError, match="lane a: there is none of that name"):
        inspector.lane("a")
    inspector.apply(plant.settings({"a": {}, "b": {}}))
    plant.give("a")
    until(lambda: inspector.accounting()["a"].inspected >= 2)
    until(lambda: len(plant.messages()) == inspector.accounting()["a"].inspected + 2)
    sequences = [message["sequence"] for message in plant.messages() if message["camera"] == "a"]
    assert len(set(sequences)) == len(sequences), "a sequence number came twice"


def test_results_go_where_the_settings_say(plant: Plant) -> None:
    inspector = plant.start(plant.settings({"a": {}}))
    plant.give("a")
    until(lambda: len(plant.messages()) == 1)
    inspector.apply(plant.settings({"a": {}}, publish={"topic": "other/inspections"}))
    plant.give("a")
    # The nucleus writes a message down before its answer is counted here.
    until(lambda: inspector.accounting()["a"].delivered == 2)
    assert len(plant.messages()) == 2
    assert plant.nucleus.counters()["publishes"]["accepted"] == 2


def test_a_threshold_is_changed_in_passing(plant: Plant) -> None:
    inspector = plant.start(plant.settings({"a": {}}))
    until(lambda: "a" in inspector.lanes())
    lane = inspector.lane("a")
    verdicts = []
    for threshold in (None, 0.0, 1.0, None):
        inspector.set_threshold("a", threshold)
        plant.give("a")
        until(lambda: len(plant.messages()) == len(verdicts) + 1)
        verdicts.append(plant.messages()[-1]["is_anomalous"])
    assert inspector.lane("a") is lane
    assert verdicts[1:3] == [True, False]
    assert verdicts[0] == verdicts[3]
    with pytest.raises(ConfigError, match="threshold"):
        inspector.set_threshold("a", 1.5)


def test_another_model(plant: Plant) -> None:
    inspector = plant.start(plant.settings({"a": {}}))
    plant.give("a")
    until(lambda: len(plant.messages()) == 1)
    inspector.switch_model("a", OTHER)
    plant.give("a")
    until(lambda: len(plant.messages()) >= 2)
    assert [message["model"]["component"] for message in plant.messages()][::-1][0] == OTHER
    assert inspector.settings.lanes["a"].model == OTHER


def test_a_paused_lane_takes_nothing(plant: Plant) -> None:
    inspector = plant.start(plant.settings({"a": {}}))
    until(lambda: "a" in inspector.lanes())
    lane = inspector.lane("a")
    lane.pause()
    assert lane.snapshot(0.5) is None  # a look at the folder that was under way has ended
    plant.give("a", 3)
    assert lane.snapshot(0.5) is None
    assert lane.status()["state"] == "paused"
    assert plant.inspected("a") == 0
    lane.resume()
    until(lambda: plant.inspected("a") == 3)
    assert not inspector.busy()


def test_a_snapshot_is_the_next_frame_and_its_inspection(plant: Plant) -> None:
    inspector = plant.start(plant.settings({"a": {}}))
    until(lambda: "a" in inspector.lanes())
    shots: List[Any] = []
    looks = [threading.Thread(target=lambda: shots.append(inspector.lane("a").snapshot(20.0))) for _ in range(3)]
    for look in looks:
        look.start()
    while not all(shots) or len(shots) < 3:
        plant.give("a")
        time.sleep(0.1)
    for look in looks:
        look.join()
    assert {shot.pixels.shape for shot in shots} == {(240, 320, 3)}
    assert {shot.inspection["camera"] for shot in shots} == {"a"}


def test_outputs_come_and_go_and_an_untouched_one_goes_on(plant: Plant) -> None:
    file, chip = plant.root / "parts.jsonl", plant.root / "chip"
    chip.mkdir()
    kept = {"to": {"type": "jsonl", "path": str(file)}, "lanes": ["a"]}
    gate = {"to": {"type": "gpio", "chip": f"sim:{chip}", "line": 4}}
    inspector = plant.start(plant.settings({"a": {}}, outputs={"kept": kept}))
    until(lambda: "a" in inspector.lanes())
    for round_ in range(1, 6):
        plant.give("a", 3)
        others = {"gate": {**gate, "act_after_ms": 10_000 + round_}} if round_ % 2 else {}
        inspector.apply(plant.settings({"a": {"threshold": round_ / 10}}, outputs={"kept": kept, **others}))
        assert set(inspector.report()["outputs"]) == {"kept", *others}
    until(lambda: plant.inspected("a") == 15)
    until(lambda: file.exists() and len(file.read_text().splitlines()) == 15)
    counts = inspector.report()["outputs"]["kept"]["counts"]
    assert (counts["offered"], counts["applied"], counts["balanced"]) == (15, 15, True)
    assert inspector.report()["outputs"]["gate"]["counts"]["balanced"]


def test_the_end_makes_outputs_safe(plant: Plant) -> None:
    chip = plant.root / "chip"
    chip.mkdir()
    gate = {"to": {"type": "gpio", "chip": f"sim:{chip}", "line": 4, "mode": "latch"}}
    inspector = plant.start(plant.settings({"a": {}}, outputs={"gate": gate}))
    plant.give("a")
    until(lambda: plant.inspected("a") == 1)
    level = chip / "line4.out"
    until(lambda: level.exists() and level.read_text().split()[-1] == "1")
    plant.stop.set()
    until(lambda: inspector.report()["outputs"]["gate"]["state"] == "stopped")
    assert level.read_text().split()[-1] == "0"


def test_an_output_of_no_lane_is_refused(plant: Plant) -> None:
    plant.start(plant.settings({"a": {}}))
    gate = {"to": {"type": "gpio", "chip": "sim:/x", "line": 4}, "lanes": ["b"]}
    with pytest.raises(ConfigError, match=r"outputs\.gate\.lanes: there is no lane b"):
        plant.settings({"a": {}}, outputs={"gate": gate})
