"""Training: from a Ground Truth manifest to a packaged model (docs/training.md). PyTorch is imported when it starts."""

from __future__ import annotations

from edge_agent.training.settings import TrainingResult, TrainingSettings
from edge_agent.training.trainer import train

__all__ = ["TrainingResult", "TrainingSettings", "train"]
