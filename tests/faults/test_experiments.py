"""Every experiment in its short form; `scripts/faults NAME` runs it at full count."""

from __future__ import annotations

import json

import pytest

from faults.experiments import EXPERIMENTS

_SHORT = {
    "bad-images": 150,
    "camera-unplug": 2,
    "config-churn": 12,
    "inspector-kill": 3,
    "model-swap": 10,
    "mutated-requests": 200,
    "nucleus": 1,
    "outputs": 1,
    "overload": 1,
    "power-cut": 30,
    "server-kill": 3,
    "spool-damage": 40,
    "viewers": 6,
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_experiment(name: str) -> None:
    outcome = EXPERIMENTS[name].run(_SHORT[name], 1)
    assert outcome.passed, json.dumps(outcome.as_dict())
