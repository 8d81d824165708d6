"""The experiments by name."""

from __future__ import annotations

from typing import Callable, Dict, NamedTuple

from faults import (
    bad_images,
    camera_unplug,
    config_churn,
    inspector_kill,
    model_swap,
    mutated_requests,
    nucleus_faults,
    outputs,
    overload,
    power_cut,
    server_kill,
    spool_damage,
    viewers,
)
from faults.outcome import Outcome


class Experiment(NamedTuple):
    run: Callable[[int, int], Outcome]
    full_count: int


EXPERIMENTS: Dict[str, Experiment] = {
    "inspector-kill": Experiment(inspector_kill.run, 100),
    "bad-images": Experiment(bad_images.run, 10_000),
    "camera-unplug": Experiment(camera_unplug.run, 20),
    "model-swap": Experiment(model_swap.run, 100),
    "config-churn": Experiment(config_churn.run, 1000),
    "mutated-requests": Experiment(mutated_requests.run, 10_000),
    "nucleus": Experiment(nucleus_faults.run, 50),
    "outputs": Experiment(outputs.run, 50),
    "overload": Experiment(overload.run, 5),
    "power-cut": Experiment(power_cut.run, 1_000),
    "server-kill": Experiment(server_kill.run, 100),
    "spool-damage": Experiment(spool_damage.run, 1_000),
    "viewers": Experiment(viewers.run, 50),
}
