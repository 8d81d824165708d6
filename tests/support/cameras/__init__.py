"""Rigs of every kind of camera, for tests/cameras/test_contract.py. A new kind adds its rig to RIGS."""

from __future__ import annotations

from typing import List, Type

from support.cameras.folder import FolderRig, WatchedFolderRig
from support.cameras.genicam import AravisFakeRig, GenicamRig
from support.cameras.gstreamer import LivePipelineRig, PipelineRig
from support.cameras.replay import ManifestRig, ReplayRig
from support.cameras.rig import Rig
from support.cameras.sample import SampleRig
from support.cameras.v4l2 import V4l2Rig
from support.cameras.video import MjpegRig, RtspRig, VideoFileRig

RIGS: List[Type[Rig]] = [
    FolderRig,
    WatchedFolderRig,
    SampleRig,
    VideoFileRig,
    RtspRig,
    MjpegRig,
    PipelineRig,
    LivePipelineRig,
    V4l2Rig,
    ReplayRig,
    ManifestRig,
    GenicamRig,
    AravisFakeRig,
]
