"""The lanes, as a PLC sees them."""

from __future__ import annotations

from typing import Optional

from edge_agent.agent.lanes import Lanes
from edge_agent.lane import Lane
from edge_agent.triggers import PlcTriggerSettings, Trigger


class LaneStations:
    """What outputs/base.py asks of `Stations`. A lane that is being built anew, or has another trigger, takes none.

    Args:
        lanes: those that run.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    def ready(self, lane: str) -> bool:
        found = self._triggered(lane)
        return found is not None and found.ready()

    def inspecting(self, lane: str) -> bool:
        found = self._lanes.now().get(lane)
        return found is not None and found.inspecting()

    def fire(self, lane: str, trigger: Trigger) -> bool:
        found = self._triggered(lane)
        return found is not None and found.trigger(trigger)

    def _triggered(self, lane: str) -> Optional[Lane]:
        found = self._lanes.now().get(lane)
        return found if found is not None and isinstance(found.settings.trigger, PlcTriggerSettings) else None
