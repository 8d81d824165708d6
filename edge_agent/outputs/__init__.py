"""Outputs: what happens on the line when a part was judged. One contract (`base`), one runner for all kinds."""

from __future__ import annotations

from edge_agent.outputs.base import Part, Stations
from edge_agent.outputs.outputs import Outputs
from edge_agent.outputs.settings import OutputSettings

__all__ = ["OutputSettings", "Outputs", "Part", "Stations"]
