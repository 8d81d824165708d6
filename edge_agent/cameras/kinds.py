"""Every kind of camera: its settings, which a configuration chooses by `type`, and the class that they set up.

A new kind is one more member of `CameraSettings` and one more line of `_CLASSES`. The modules of the kinds import
their libraries when a camera is opened, so that all of them can be named here.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Type, Union

from edge_agent.cameras.base import Camera
from edge_agent.cameras.folder import FolderCamera, FolderSettings
from edge_agent.cameras.genicam import GenicamCamera, GenicamSettings
from edge_agent.cameras.gstreamer import GstreamerCamera, GstreamerSettings
from edge_agent.cameras.replay import ReplayCamera, ReplaySettings
from edge_agent.cameras.sample import SampleCamera, SampleSettings
from edge_agent.cameras.v4l2 import V4l2Camera, V4l2Settings
from edge_agent.cameras.video import VideoCamera, VideoSettings
from edge_agent.clock import Clock
from edge_agent.config import Settings

#: What `camera` of a lane may hold.
CameraSettings = Union[
    FolderSettings,
    GenicamSettings,
    GstreamerSettings,
    ReplaySettings,
    SampleSettings,
    V4l2Settings,
    VideoSettings,
]

_CLASSES: Dict[Type[Settings], Callable[[Any, Clock], Camera]] = {
    FolderSettings: FolderCamera,
    GenicamSettings: GenicamCamera,
    GstreamerSettings: GstreamerCamera,
    ReplaySettings: ReplayCamera,
    SampleSettings: SampleCamera,
    V4l2Settings: V4l2Camera,
    VideoSettings: VideoCamera,
}


def make_camera(settings: CameraSettings, clock: Clock) -> Camera:
    """The camera that the settings describe, not opened yet."""
    return _CLASSES[type(settings)](settings, clock)
