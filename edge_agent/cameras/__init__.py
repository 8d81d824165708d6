"""Cameras: each can open, give the next frame, close. The lane retries, reconnects, times out and counts."""

from __future__ import annotations

from edge_agent.cameras.base import Camera, Captured, CountsTransport, Reserve
from edge_agent.cameras.folder import FolderCamera, FolderSettings
from edge_agent.cameras.kinds import CameraSettings, make_camera

__all__ = [
    "Camera",
    "CameraSettings",
    "Captured",
    "CountsTransport",
    "FolderCamera",
    "FolderSettings",
    "Reserve",
    "make_camera",
]
