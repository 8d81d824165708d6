"""Cameras: each can open, give the next frame, close. The lane retries, reconnects, times out and counts."""

from __future__ import annotations

from edge_agent.cameras.base import Camera, Captured, Reserve
from edge_agent.cameras.folder import FolderCamera, FolderSettings

__all__ = ["Camera", "Captured", "FolderCamera", "FolderSettings", "Reserve"]
