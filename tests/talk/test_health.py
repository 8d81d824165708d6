"""The health message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import jsonschema
import pytest
from support.plant import MODEL, Component, Plant
from support.waiting import until

from edge_agent.agent.talk import health as health_module
from edge_agent.agent.talk.health import Health
from edge_agent.agent.talk.status import MAX_DOCUMENT_BYTES, changes, encode, fit
from edge_agent.agent.talk_settings import HealthSettings

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "health.schema.json").read_text())


def test_it_comes_on_start_on_change_and_at_the_end(
    plant: Plant, component: Component, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "_BETWEEN_CHANGES_S", 0.1)
    plant.configure(plant.configuration({"a": plant.lane("a")}, health={"every_s": 3600}))
    plant.start()
    until(lambda: plant.messages("health"))
    plant.give("a")
    until(lambda: any(message["lanes"]["a"]["model_version"] == "3.1.4" for message in plant.messages("health")))
    component.ask(id="1", command="pause", lane="a")
    until(lambda: any(message["lanes"]["a"]["state"] == "paused" for message in plant.messages("health")))
    plant.finish()
    until(lambda: plant.messages("health")[-1]["reason"] == "stop")
    messages = plant.messages("health")
    for message in messages:
        jsonschema.validate(message, SCHEMA)
    reasons = [message["reason"] for message in messages]
    assert reasons[0] == "start"
    assert set(reasons[1:-1]) == {"change"}
    assert messages[0]["lanes"]["a"]["model"] == MODEL
    assert messages[0]["configuration"]["state"] == "in_force"
    assert messages[-1]["lanes"]["a"]["counts"]["captured"] == 1


def test_many_outputs_do_not_push_it_over_what_a_nucleus_takes(plant: Plant) -> None:
    # Sixty, with names as long as they may be: their states alone are more than a message holds.
    names = [f"{number:02d}".ljust(64, "x") for number in range(60)]
    outputs = {name: {"to": {"type": "pubsub"}} for name in names}
    plant.configure(plant.configuration({"a": plant.lane("a")}, outputs=outputs))
    plant.start()
    for message in until(lambda: plant.messages("health")):
        jsonschema.validate(message, SCHEMA)
        assert len(encode(message)) <= MAX_DOCUMENT_BYTES
        assert len(message["outputs"]) + message["outputs_omitted"] == len(names)
        assert {output["state"] for output in message["outputs"].values()}.isdisjoint({"safe", "working"})
        assert message["lanes"]["a"]["model"] == MODEL


def test_one_refused_by_an_offline_nucleus_is_sent_when_it_is_back(plant: Plant) -> None:
    plant.nucleus.offline()
    plant.configure(plant.configuration({"a": plant.lane("a")}))
    inspector = plant.start()
    plant.give("a", 3)
    until(lambda: inspector.accounting()["a"].inspected == 3)
    until(lambda: plant.nucleus.counters()["publishes"]["refused"])
    assert plant.messages("health") == []
    plant.nucleus.online()
    until(lambda: plant.messages("health"))


class _Outbox:
    def __init__(self) -> None:
        self.names: List[str] = []

    def put(self, name: str, _send: Any, **_options: Any) -> bool:
        self.names.append(name)
        return True


class _Status:
    def __init__(self) -> None:
        self.now: Dict[str, Any] = {"lanes": {}, "spool": {}}

    def document(self) -> Dict[str, Any]:
        return self.now


class _Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic_ns(self) -> int:
        return int(self.seconds * 1e9)


def test_when_it_is_time() -> None:
    status, outbox, clock = _Status(), _Outbox(), _Clock()
    health = Health(status, outbox, clock)  # type: ignore[arg-type]
    health.configure(HealthSettings(every_s=60))
    health.tick()
    assert outbox.names == []  # no lane is there yet
    status.now = {"lanes": {"a": {"state": "running"}}, "spool": {}}
    health.tick()
    assert len(outbox.names) == 1
    clock.seconds += 59
    health.tick()
    assert len(outbox.names) == 1
    clock.seconds += 1
    health.tick()
    assert len(outbox.names) == 2
    # To and fro, ten times a second, for ten seconds: two messages.
    for step in range(100):
        clock.seconds += 0.1
        status.now = {"lanes": {"a": {"state": ("running", "paused")[step % 2]}}, "spool": {}}
        health.tick()
    assert 1 <= len(outbox.names) - 2 <= 2
    health.configure(HealthSettings(every_s=0))
    clock.seconds += 1000
    before = len(outbox.names)
    health.tick()
    health.end()
    assert len(outbox.names) == before


@pytest.mark.parametrize("lanes", [1, 12, 30, 64, 300])
def test_it_fits_whatever_the_number_of_lanes(lanes: int) -> None:
    lane = {"state": "running", "camera": "live", "model": "m" * 100, "counts": {"captured": 10**9}}
    document = {"spool": {}, "lanes": {f"{'lane' * 12}-{number:03d}": dict(lane) for number in range(lanes)}}
    fitted = fit(document, 7000)
    assert len(encode(fitted)) <= 7000
    assert len(fitted["lanes"]) + fitted.get("lanes_omitted", 0) == lanes
    short = sum(1 for one in fitted["lanes"].values() if set(one) == {"state"})
    assert short == fitted.get("lanes_short", 0)
    assert changes(document)["lanes"].keys() == document["lanes"].keys()


@pytest.mark.parametrize("outputs", [1, 10, 200])
def test_it_fits_whatever_the_number_of_outputs(outputs: int) -> None:
    output = {"state": "working", "dropped": {"broken": 10**9}, "failed": {"timeout": 3}}
    lanes = {f"lane-{number}": {"state": "running", "model": "m" * 100} for number in range(60)}
    document = {"spool": {}, "lanes": lanes, "outputs": {f"gate-{number:03d}": output for number in range(outputs)}}
    fitted = fit(document, 7000)
    assert len(encode(fitted)) <= 7000
    assert len(fitted["outputs"]) + fitted.get("outputs_omitted", 0) == outputs


def test_outputs_in_trouble_stay_when_others_go() -> None:
    outputs = {f"gate-{number:03d}": {"state": "working", "failed": {}} for number in range(200)}
    outputs["gate-150"] = {"state": "broken", "failed": {"timeout": 3}}
    fitted = fit({"spool": {}, "lanes": {"a": {"state": "running"}}, "outputs": outputs}, 7000)
    assert fitted["outputs"] == {"gate-150": outputs["gate-150"]}
    assert fitted["outputs_omitted"] == 199
