"""Sample parts, rendered from a seed, and the package trained on them: what the demo and the tests look at."""

from __future__ import annotations

import pathlib

from edge_agent.sample.dataset import write_dataset
from edge_agent.sample.defects import CLASS_NAMES
from edge_agent.sample.part import SamplePart, part_stream, render_part

#: Name of the shipped package, as a model component.
MODEL_NAME = "com.edgeagent.SampleModel"

__all__ = [
    "CLASS_NAMES",
    "MODEL_NAME",
    "SamplePart",
    "models_directory",
    "part_stream",
    "render_part",
    "write_dataset",
]


def models_directory() -> pathlib.Path:
    """The installed directory that holds the shipped package, for `edge-agent serve --models`."""
    return pathlib.Path(__file__).resolve().parent / "models"
