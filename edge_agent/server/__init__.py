"""The open Edge Agent: the five calls of the contract, with models from a directory (docs/server.md).

server = ModelServer("/var/lib/models", "/tmp/agent.sock", threads=2)
server.start()
server.stop(grace=10)
"""

from __future__ import annotations

import os

# As in edge_agent.detector.client, and for the same reason: the server starts a process for each compiled model.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from edge_agent.server.host import ModelServer

__all__ = ["ModelServer"]
