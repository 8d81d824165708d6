"""Where inspections wait for delivery: on disk, bounded, in order, each settled exactly once."""

from __future__ import annotations

from edge_agent.spool.look import Look
from edge_agent.spool.pending import Entry
from edge_agent.spool.receipt import Receipt
from edge_agent.spool.settings import SpoolSettings, spool_directory
from edge_agent.spool.spool import Spool

__all__ = ["Entry", "Look", "Receipt", "Spool", "SpoolSettings", "spool_directory"]
