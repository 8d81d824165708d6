"""The recorder: images kept with what was decided about them, for training and for replay (docs/recorder.md)."""

from __future__ import annotations

from edge_agent.recorder.choice import Label
from edge_agent.recorder.gallery import Files, Found, Gallery
from edge_agent.recorder.query import Query, Recorded
from edge_agent.recorder.recorder import Recorder
from edge_agent.recorder.review import MAX_NOTE, Verdict
from edge_agent.recorder.settings import RecorderSettings
from edge_agent.recorder.upload.settings import UploadSettings

__all__ = [
    "MAX_NOTE",
    "Files",
    "Found",
    "Gallery",
    "Label",
    "Query",
    "Recorded",
    "Recorder",
    "RecorderSettings",
    "UploadSettings",
    "Verdict",
]
