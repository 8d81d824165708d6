"""Visual inspection at the edge on AWS IoT Greengrass: frames in, verdicts on AWS IoT Core."""

from __future__ import annotations

from edge_agent._version import __version__

__all__ = ["__version__"]
