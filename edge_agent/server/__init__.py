"""The open Edge Agent: the five calls of the contract, with models from a directory (docs/server.md).

server = ModelServer("/var/lib/models", "/tmp/agent.sock", threads=2)
server.start()
server.stop(grace=10)
"""

from __future__ import annotations

from edge_agent.server.host import ModelServer
from edge_agent.server.metrics import ServerMetrics
from edge_agent.server.units import InferenceUnits, parse_units

__all__ = ["InferenceUnits", "ModelServer", "ServerMetrics", "parse_units"]
