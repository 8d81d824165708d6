"""Video files, RTSP and MJPEG over HTTP as cameras, through PyAV (FFmpeg)."""

from __future__ import annotations

from edge_agent.cameras.video.camera import VideoCamera
from edge_agent.cameras.video.settings import VideoSettings

__all__ = ["VideoCamera", "VideoSettings"]
