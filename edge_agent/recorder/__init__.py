"""The recorder: images kept with what was decided about them, for training and for replay (docs/recorder.md)."""

from __future__ import annotations

from edge_agent.recorder.choice import Label
from edge_agent.recorder.recorder import Recorder
from edge_agent.recorder.settings import RecorderSettings

__all__ = ["Label", "Recorder", "RecorderSettings"]
