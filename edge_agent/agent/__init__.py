"""The agent: lanes built from the configuration, run, drained, stopped."""

from __future__ import annotations

from edge_agent.agent.inspector import Inspector
from edge_agent.agent.operation import Operation
from edge_agent.agent.settings import InspectorSettings, read_settings

__all__ = ["Inspector", "InspectorSettings", "Operation", "read_settings"]
