"""The client side of the Edge Agent contract: works with our model server and with AWS's own Edge Agent."""

from __future__ import annotations

from edge_agent.detector.client import Detection, EdgeAgentClient, ModelState
from edge_agent.detector.session import ModelSession
from edge_agent.detector.starting import ensure_running, ensure_stopped

__all__ = ["Detection", "EdgeAgentClient", "ModelSession", "ModelState", "ensure_running", "ensure_stopped"]
