"""Another configuration while the inspector runs."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any, Dict, List

import pytest
from support.plant import OTHER, Plant
from support.waiting import until

from edge_agent.agent.settings import InspectorSettings, read_settings
from edge_agent.agent.talk.configuration import ConfigurationKeeper, ConfigurationWatch
from edge_agent.clock import SystemClock
from edge_agent.errors import ConfigError, IpcRefusedError, NucleusError

GOOD: Dict[str, Any] = {"lanes": {"a": {"model": "m", "camera": {"type": "folder", "path": "/nowhere"}}}}


def test_a_deployment_changes_one_lane_and_the_other_loses_no_frame(plant: Plant) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a"), "b": plant.lane("b")}))
    inspector = plant.start()
    untouched = inspector.lane("a")
    plant.give("a", 5)
    plant.give("b", 2)
    # Three leaves: one change.
    plant.configure({"lanes": {"b": {"model": OTHER, "buffer": 3}, "c": plant.lane("c")}})
    until(lambda: set(inspector.lanes()) == {"a", "b", "c"})
    plant.give("a", 5)
    plant.give("c")
    until(lambda: inspector.accounting()["a"].inspected == 10)
    until(lambda: inspector.accounting()["c"].inspected == 1)
    assert inspector.lane("a") is untouched
    assert inspector.settings.lanes["b"].model == OTHER
    report = plant.finish()
    assert report["configuration"] == {"state": "in_force", "changes_accepted": 1, "changes_refused": 0}
    assert report["accounting"]["a"]["captured"] == report["accounting"]["a"]["delivered"] == 10
    assert all(books["balanced"] for books in report["accounting"].values())
    assert plant.well is True
    assert plant.stopped_s < 5


def test_a_wrong_configuration_is_refused_whole_and_the_old_one_goes_on(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a")}))
    inspector = plant.start()
    wrong = {"publish": {"qos": 0}, "lanes": {"a": {"speed": 9}}}
    if plant.nucleus.mode == "classic":
        # Rejected before it lands: nothing of it is in the component's configuration.
        with pytest.raises(NucleusError, match=r"component configuration: lanes\.a\.speed: is not a known key"):
            plant.configure(wrong)
        assert "lanes.a.speed" in caplog.text
    else:
        plant.configure(wrong)
        until(lambda: plant.report()["configuration"]["state"] == "refused")
        assert "lanes.a.speed" in plant.report()["configuration"]["problem"]
        assert caplog.text.count("configuration refused") == 1
    assert inspector.settings.publish.qos == 1
    plant.give("a")
    until(lambda: inspector.accounting()["a"].delivered == 1)


def test_a_change_during_an_outage_is_found_afterwards(plant: Plant) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a")}))
    inspector = plant.start()
    plant.nucleus.restart(0.2)
    plant.configure({"lanes": {"b": plant.lane("b")}})
    until(lambda: set(inspector.lanes()) == {"a", "b"})


@pytest.mark.parametrize("mode", ["classic"])
def test_sighup_reads_the_file_again(plant: Plant, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "line.json"
    file.write_text(json.dumps(plant.configuration({"a": plant.lane("a")})))
    inspector = plant.start(file)
    file.write_text(json.dumps(plant.configuration({"a": plant.lane("a"), "b": plant.lane("b")})))
    plant.operation.read_again()
    until(lambda: set(inspector.lanes()) == {"a", "b"})
    file.write_text(json.dumps(plant.configuration({"a": plant.lane("a", buffer=99)})))
    plant.operation.read_again()
    until(lambda: "lanes.a" in caplog.text and "`buffer` must be 1 to 64" in caplog.text)
    file.write_text("{")
    plant.operation.read_again()
    until(lambda: f"{file}: is not valid" in caplog.text)
    assert set(inspector.lanes()) == {"a", "b"}
    assert plant.finish()["configuration"]["changes_refused"] == 2


def _keeper(applied: List[InspectorSettings], stop: threading.Event) -> ConfigurationKeeper:
    return ConfigurationKeeper(applied.append, "t", stop)


def test_nothing_is_put_into_force_after_the_stop() -> None:
    applied: List[InspectorSettings] = []
    stop = threading.Event()
    keeper = _keeper(applied, stop)
    assert keeper.offer(GOOD, "x") is None
    stop.set()
    assert keeper.offer(GOOD, "x") == "the inspector is stopping"
    assert len(applied) == 1


def test_what_cannot_change_while_running_is_refused() -> None:
    def apply(_settings: InspectorSettings) -> None:
        raise ConfigError("x: spool.path", "cannot change while the inspector runs", "Start it anew.")

    keeper = ConfigurationKeeper(apply, "t", threading.Event())
    assert "spool.path" in str(keeper.offer(GOOD, "x"))
    assert keeper.status()["problem"].startswith("x: spool.path")


def test_leaves_are_gathered_and_reading_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    applied: List[InspectorSettings] = []
    reads = threading.Semaphore(0)
    answers: List[Any] = [IpcRefusedError("GetConfiguration", "was refused"), {**GOOD, "publish": {"qos": 0}}]

    def read() -> Dict[str, Any]:
        reads.release()
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    keeper = _keeper(applied, threading.Event())
    watch = ConfigurationWatch(read, "x", keeper, SystemClock(), GOOD, quiet_s=0.2)
    watch.start()
    with caplog.at_level(logging.WARNING):
        for _leaf in range(20):
            watch.notice()
        until(lambda: applied)
    watch.close(5.0)
    assert not answers
    assert [settings.publish.qos for settings in applied] == [0]
    assert caplog.text.count("reading the x: waiting") == 1


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"health": {"topic": "a/#"}}, "health.topic"),
        ({"commands": {"replies": "x/y", "topic": "x/y"}}, "commands.topic"),
        ({"commands": {"sources": ["carrier_pigeon"]}}, "commands.sources"),
        ({"confirm": {"by": "echo", "topic": "edge-agent/t/health"}}, "confirm.topic"),
        ({"confirm": {"every_s": 60, "unconfirmed_after_s": 30}}, "confirm"),
        ({"updates": {"recheck_s": 0}}, "updates"),
        ({"health": {"every_s": 1}}, "health"),
    ],
)
def test_wrong_settings_are_named_by_their_path(change: Dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({**GOOD, **change}, "x", thing="t")
    assert caught.value.subject.startswith(f"x: {path}")
