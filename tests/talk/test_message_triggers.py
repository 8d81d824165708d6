"""Triggers as messages, from both sources, in both modes."""

from __future__ import annotations

from typing import Any, Dict

import pytest
from support.plant import THING, Plant
from support.waiting import until


def _trigger(source: str, name: str = "a") -> Dict[str, Any]:
    return {"trigger": {"type": "message", "source": source, "topic": f"edge-agent/{{thing}}/triggers/{name}"}}


@pytest.mark.parametrize("source", ["iot_core", "local"])
def test_each_message_is_one_part(plant: Plant, source: str) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a", **_trigger(source))}))
    inspector = plant.start()
    topic = f"edge-agent/{THING}/triggers/a"
    publish = plant.nucleus.publish if source == "iot_core" else plant.nucleus.publish_local
    plant.give("a", 4)
    until(lambda: inspector.lane("a").status()["camera"] == "live")

    def fire(payload: bytes, inspected: int) -> None:
        until(lambda: publish(topic, payload) == 1)
        until(lambda: inspector.accounting()["a"].inspected == inspected)

    fire(b'{"id": "part-1"}', 1)
    fire(b"", 2)
    fire(b'{"id": "no good id"}', 3)
    publish(topic, b'{"id": "part-1"}')  # delivered twice, as QoS 1 allows
    until(lambda: plant.report()["trigger_messages"].get("repeated") == 1)
    # The nucleus comes back, and the next part is seen.
    plant.nucleus.restart(0.2)
    fire(b'{"id": "part-2"}', 4)
    until(lambda: len(plant.inspections()) == 4)
    ids = [message["trigger_id"] for message in plant.inspections()]
    assert ids[0] == "part-1"
    assert ids[3] == "part-2"
    assert len(set(ids)) == 4
    counts = plant.report()["trigger_messages"]
    assert counts == {"received": 5, "fired": 4, "repeated": 1}


def test_a_change_of_the_configuration_moves_the_topic(plant: Plant) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a", **_trigger("local"))}))
    inspector = plant.start()
    plant.give("a", 2)
    plant.configure({"lanes": {"a": _trigger("local", "b")}})
    until(lambda: plant.nucleus.publish_local(f"edge-agent/{THING}/triggers/b", b"") == 1)
    assert plant.nucleus.publish_local(f"edge-agent/{THING}/triggers/a", b"") == 0
    until(lambda: sum(plant.report()["trigger_messages"].values()) >= 2)
    assert inspector.lane("a").status()["triggers"]["received"] <= 1
