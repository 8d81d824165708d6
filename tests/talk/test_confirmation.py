"""Delivery truth: heartbeats through the nucleus and back."""

from __future__ import annotations

from typing import Any, Dict

import pytest
from support.plant import Plant
from support.waiting import until

CONFIRM = {"by": "echo", "every_s": 1, "unconfirmed_after_s": 3}


def _delivery(plant: Plant) -> Dict[str, Any]:
    delivery: Dict[str, Any] = plant.report()["delivery"]
    return delivery


def test_what_was_handed_over_before_a_heartbeat_that_came_back_is_confirmed(plant: Plant) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a")}, confirm=CONFIRM))
    plant.start()
    plant.give("a", 3)
    until(lambda: _delivery(plant)["confirmed"].get("a") == 3)
    assert _delivery(plant)["state"] == "confirmed"
    report = plant.finish()
    assert report["delivery"]["heartbeats"]["unconfirmed_times"] == 0
    assert report["delivery"]["confirmed"]["a"] <= report["accounting"]["a"]["delivered"]


def test_a_cloud_that_swallows_everything_is_noticed_and_its_return_too(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a")}, confirm=CONFIRM))
    plant.start()
    until(lambda: _delivery(plant)["state"] == "confirmed")
    plant.nucleus.offline()
    until(lambda: _delivery(plant)["state"] == "unconfirmed")
    plant.give("a", 2)
    confirmed = dict(_delivery(plant)["confirmed"])
    assert confirmed.get("a", 0) == 0
    plant.nucleus.online()
    until(lambda: _delivery(plant)["state"] == "confirmed")
    until(lambda: _delivery(plant)["confirmed"].get("a") == 2)
    assert caplog.text.count("delivery unconfirmed") == 1
    assert caplog.text.count("delivery is confirmed again") == 1
    assert _delivery(plant)["heartbeats"]["unconfirmed_times"] == 1


def test_a_subscription_that_went_deaf_is_renewed_before_it_counts(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a")}, confirm={**CONFIRM, "unconfirmed_after_s": 10}))
    plant.start()
    until(lambda: _delivery(plant)["state"] == "confirmed")
    back = _delivery(plant)["heartbeats"]["back"]
    plant.nucleus.forget_subscriptions()
    until(lambda: _delivery(plant)["heartbeats"]["renewed"] == 1)
    until(lambda: _delivery(plant)["heartbeats"]["back"] > back + 1)
    assert "delivery unconfirmed" not in caplog.text
    assert _delivery(plant)["state"] == "confirmed"


def test_it_is_off_by_default_and_can_be_switched_on(plant: Plant) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a")}))
    plant.start()
    assert _delivery(plant) == {"state": "off"}
    plant.configure({"confirm": CONFIRM})
    until(lambda: _delivery(plant)["state"] == "confirmed")
    plant.configure({"confirm": {"by": "none"}})
    until(lambda: _delivery(plant)["state"] == "off")
