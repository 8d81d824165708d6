"""A stand-in for the Greengrass nucleus's IPC server, for laptops and tests (docs/nucleus.md)."""

from __future__ import annotations

from edge_agent.greengrass.nucleus.control import send_command
from edge_agent.greengrass.nucleus.local import LocalNucleus

__all__ = ["LocalNucleus", "send_command"]
