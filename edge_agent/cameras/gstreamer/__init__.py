"""Any GStreamer pipeline as a camera: hardware decoders and CSI cameras of a Jetson come this way."""

from __future__ import annotations

from edge_agent.cameras.gstreamer.camera import GstreamerCamera
from edge_agent.cameras.gstreamer.settings import GstreamerSettings

__all__ = ["GstreamerCamera", "GstreamerSettings"]
