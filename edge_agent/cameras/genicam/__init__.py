"""GigE Vision and USB3 Vision cameras, through Aravis. docs/genicam.md is the page on them."""

from __future__ import annotations

from edge_agent.cameras.genicam.camera import GenicamCamera
from edge_agent.cameras.genicam.discovery import Found, discover
from edge_agent.cameras.genicam.settings import GenicamSettings

__all__ = ["Found", "GenicamCamera", "GenicamSettings", "discover"]
