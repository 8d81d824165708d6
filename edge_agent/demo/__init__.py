"""The whole system on one laptop: model server, local nucleus and inspector as processes, fed with rendered parts."""

from __future__ import annotations

from edge_agent.demo.line import DemoLine, Verdict

__all__ = ["DemoLine", "Verdict"]
