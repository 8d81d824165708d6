"""A lane: one camera's path from capture to the spool, and its accounting."""

from __future__ import annotations

from edge_agent.lane.lane import Lane, LaneContext, LaneState
from edge_agent.lane.observations import Observations, Observed
from edge_agent.lane.settings import LaneSettings
from edge_agent.lane.tap import Snapshot

__all__ = ["Lane", "LaneContext", "LaneSettings", "LaneState", "Observations", "Observed", "Snapshot"]
