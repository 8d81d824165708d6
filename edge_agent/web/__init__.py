"""What is served over HTTP: figures and health (docs/metrics.md)."""

from __future__ import annotations

from edge_agent.web.exposition import Exposition, read_token
from edge_agent.web.process_figures import add_process_figures

__all__ = ["Exposition", "add_process_figures", "read_token"]
