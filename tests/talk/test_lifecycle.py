"""State, updates, and a token that died."""

from __future__ import annotations

import json
import threading
from typing import Any, Dict, List

import pytest
from support.plant import Component, Plant
from support.waiting import until

from edge_agent.agent.talk.updates import UpdateGuard, UpdateHold
from edge_agent.agent.talk_settings import UpdateSettings
from edge_agent.clock import SystemClock


def test_running_is_told_on_every_connection(plant: Plant) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a")}))
    plant.start()
    until(lambda: plant.nucleus.counters()["component_state"] == "RUNNING")
    before = plant.nucleus.counters()["operations"]["UpdateState"]
    plant.nucleus.restart(0.1)
    until(lambda: plant.nucleus.counters()["operations"]["UpdateState"] > before)


@pytest.mark.parametrize("mode", ["lite"])
def test_a_refused_state_is_ignored_quietly(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    plant.nucleus.refuse("ServiceError", operation="UpdateState")
    plant.configure(plant.configuration({"a": plant.lane("a")}))
    plant.start()
    until(lambda: plant.nucleus.counters()["operations"].get("UpdateState"))
    until(lambda: plant.messages("health"))
    assert plant.nucleus.counters()["operations"]["UpdateState"] == 1
    assert [record.message for record in caplog.records if record.levelname != "INFO"] == []


@pytest.mark.parametrize("mode", ["classic"])
def test_an_update_waits_while_the_line_holds_it(plant: Plant, component: Component) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a")}, updates={"recheck_s": 0.5, "defer_at_most_s": 60}))
    plant.start()

    def answer(deployment: str) -> int:
        before = len(plant.nucleus.counters()["deferrals"])
        assert plant.nucleus.command("component-update", deployment=deployment, restarting=False)["told"] == 1
        until(lambda: len(plant.nucleus.counters()["deferrals"]) == before + 1)
        return int(plant.nucleus.counters()["deferrals"][-1]["recheckAfterMs"])

    component.ask(id="1", command="hold_updates", for_s=600)
    assert answer("one") == 500
    component.ask(id="2", command="release_updates")
    assert answer("one") == 0


class _Client:
    """Remembers the answers about updates."""

    def __init__(self) -> None:
        self.answers: List[int] = []

    def subscribe_to_component_updates(self, callback: Any) -> None:
        self.announce = callback

    def defer_component_update(self, _deployment: str, *, recheck_ms: int, reason: str) -> None:
        assert bool(reason) == (recheck_ms > 0)
        self.answers.append(recheck_ms)


class _Session:
    def __init__(self, client: _Client) -> None:
        self._client = client

    def subscribe(self, _name: str, subscribe: Any, **_options: Any) -> None:
        subscribe(self._client)


class _Clock(SystemClock):
    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns


def test_a_busy_line_puts_an_update_off_but_not_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    client, clock, busy = _Client(), _Clock(), threading.Event()
    settings = UpdateSettings(defer_at_most_s=20, recheck_s=5)
    guard = UpdateGuard(busy.is_set, UpdateHold(clock), lambda: settings, clock)
    guard.subscribe(_Session(client))  # type: ignore[arg-type]
    busy.set()
    for _ in range(6):
        client.announce("d1")
        clock.now_ns += 5_000_000_000
    assert client.answers == [5000, 5000, 5000, 5000, 0, 0]
    assert "it waited long enough" in caplog.text
    client.announce("d2")
    busy.clear()
    client.announce("d2")
    assert client.answers[6:] == [5000, 0]


def test_a_hold_ends_by_itself() -> None:
    clock = _Clock()
    hold = UpdateHold(clock)
    hold.hold(10)
    assert hold.held()
    clock.now_ns += 10_000_000_000
    assert not hold.held()


@pytest.mark.parametrize("mode", ["classic", "lite"])
def test_a_token_that_died_ends_the_run_once_and_not_well(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge_agent.greengrass.session._DEAD_TOKEN_S", 1.0)
    plant.configure(plant.configuration({"a": plant.lane("a")}))
    plant.start()
    until(lambda: plant.messages("health"))
    plant.nucleus.restart(0.1, change_token=True)
    until(lambda: plant.well is not None)
    assert plant.well is False
    assert caplog.text.count("refuses the token that it gave") == 1
    books: Dict[str, Any] = plant.report()["accounting"]["a"]
    assert books["balanced"]


def test_the_conversation_needs_no_nucleus_to_begin_and_end(plant: Plant) -> None:
    """Offline at start: nothing is lost, and the end is in time."""
    plant.nucleus.stop()
    settings = plant.configuration({"a": plant.lane("a")})
    file = plant.root / "line.json"
    file.write_text(json.dumps(settings))
    inspector = plant.start(file)
    plant.give("a", 2)
    until(lambda: inspector.accounting()["a"].inspected == 2)
    report = plant.finish()
    assert plant.stopped_s < 5
    assert report["accounting"]["a"]["spooled"] == 2
