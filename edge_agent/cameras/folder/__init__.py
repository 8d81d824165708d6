"""A directory as a camera: every image file in it is a frame, oldest first."""

from __future__ import annotations

from edge_agent.cameras.folder.camera import FolderCamera
from edge_agent.cameras.folder.settings import FolderSettings

__all__ = ["FolderCamera", "FolderSettings"]
