"""The live page: what the lanes see and decide, for people with a browser (docs/page.md)."""

from __future__ import annotations

from edge_agent.page.album import Albums
from edge_agent.page.page import LivePage, PageSource
from edge_agent.page.review import ReviewPages

__all__ = ["Albums", "LivePage", "PageSource", "ReviewPages"]
