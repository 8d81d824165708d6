"""What a nucleus does to a component, each in both modes where both do it."""

from __future__ import annotations

import json
import threading
import time
from typing import List

import pytest
from support.plant import THING, Component, Plant
from support.waiting import until

from edge_agent.agent import Operation
from edge_agent.agent.talk.status import MAX_DOCUMENT_BYTES
from edge_agent.clock import SystemClock


def test_a_start_with_a_nucleus_that_is_slow_to_connect(plant: Plant) -> None:
    """Thirty seconds were seen; two show the same: one try is not over before the nucleus answers."""
    plant.nucleus.delay_accepting(2.0)
    plant.configure(plant.configuration({"a": plant.lane("a")}))
    started = time.monotonic()
    inspector = plant.start()
    assert time.monotonic() - started > 1.5
    plant.nucleus.delay_accepting(0)
    plant.give("a")
    until(lambda: inspector.accounting()["a"].delivered == 1)
    assert plant.nucleus.counters()["clients"]["refused"] == 0


def test_a_start_with_no_nucleus_waits_for_it(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a")}))
    away = threading.Thread(target=plant.nucleus.restart, args=(2.0,))
    away.start()
    until(lambda: not plant.nucleus.socket_path.exists())
    inspector = plant.start()
    away.join()
    plant.give("a")
    until(lambda: inspector.accounting()["a"].delivered == 1)
    assert caplog.text.count("connection to the nucleus: waiting") == 1


def test_a_stop_while_the_nucleus_is_waited_for_ends_at_once_and_well(plant: Plant) -> None:
    plant.nucleus.delay_accepting(60)
    operation = Operation(None, thing=THING, clock=SystemClock(), stop=plant.stop)
    ended: List[bool] = []
    thread = threading.Thread(target=lambda: ended.append(operation.run()))
    thread.start()
    until(lambda: plant.nucleus.counters()["clients"]["connected"] > 0)
    plant.stop.set()
    thread.join(5)
    assert ended == [True]
    assert operation.report() is None


def test_everything_is_heard_and_said_again_after_a_restart(plant: Plant, component: Component) -> None:
    confirm = {"by": "echo", "every_s": 1, "unconfirmed_after_s": 20}
    plant.configure(plant.configuration({"a": plant.lane("a")}, confirm=confirm))
    plant.start()
    until(lambda: plant.report()["delivery"]["state"] == "confirmed")
    for life in range(3):
        plant.nucleus.restart(0.2)
        back = plant.report()["delivery"]["heartbeats"]["back"]
        topic = "edge-agent/press-7/commands"
        command = json.dumps({"id": f"life-{life}", "command": "status"}).encode()
        until(lambda: plant.nucleus.publish(topic, command) == 1)  # noqa: B023 - called at once
        until(lambda: plant.report()["commands"].get("done") == life + 1)  # noqa: B023 - called at once
        until(lambda: plant.report()["delivery"]["heartbeats"]["back"] > back)  # noqa: B023 - called at once
    assert plant.nucleus.counters()["component_state"] == "RUNNING"


@pytest.mark.parametrize("mode", ["lite"])
def test_no_message_of_ours_is_too_large_for_lite(plant: Plant) -> None:
    lanes = {f"a-long-name-for-a-lane-of-this-site-{number:02d}": plant.lane("shared") for number in range(20)}
    plant.configure(plant.configuration(lanes, publish={"message_bytes": 100_000}))
    inspector = plant.start()
    plant.nucleus.offline()
    plant.give("shared", 3)
    until(lambda: sum(books.inspected for books in inspector.accounting().values()) == 60, 60)
    plant.nucleus.online()
    command = json.dumps({"id": "1", "command": "status"}).encode()
    # Read where the nucleus takes it: a subscriber behind nucleus lite hears nothing so large.
    until(lambda: plant.nucleus.publish(f"edge-agent/{THING}/commands", command) == 1, 60)
    status = until(lambda: plant.messages("replies"))[0]["result"]
    assert status["lanes_short"] > 0
    assert len(status["lanes"]) + status.get("lanes_omitted", 0) == 20
    until(lambda: plant.messages("health"))
    # Inspections in batches that lite answers by closing the connection: the size is found, and nothing is lost.
    until(lambda: sum(books.delivered for books in inspector.accounting().values()) == 60, 60)
    said = [len(json.dumps(message, separators=(",", ":"))) for message in plant.messages("health")]
    assert max(said) <= MAX_DOCUMENT_BYTES


@pytest.mark.parametrize("mode", ["lite"])
def test_errors_without_words_are_named_by_their_kind_and_said_once(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a")}))
    plant.nucleus.refuse("ServiceError", operation="PublishToIoTCore")
    plant.start()
    plant.give("a", 2)
    until(lambda: plant.nucleus.counters()["operations"].get("PublishToIoTCore", 0) > 6)
    for subject in ("health message: waiting", "publishing to edge-agent/press-7/inspections: waiting"):
        lines = [record.getMessage() for record in caplog.records if subject in record.getMessage()]
        assert len(lines) == 1
        assert lines[0].endswith("the nucleus answers ServiceError")
    plant.nucleus.reset()
    until(lambda: len(plant.inspections()) == 2)
