"""A camera driven as a lane drives it."""

from __future__ import annotations

import time
from typing import List, NamedTuple

import numpy as np
import pytest

from edge_agent.cameras import Camera, Captured, Reserve
from edge_agent.errors import EndOfInputError, ImageError
from edge_agent.frame import Pixels

_PATIENCE_S = 20.0


def reserve(height: int, width: int) -> Pixels:
    return np.zeros((height, width, 3), np.uint8)


def capture(camera: Camera, place: Reserve = reserve) -> Captured:
    """The next frame of an open camera."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        captured = camera.capture(place, 0.2)
        if captured is not None:
            return captured
    pytest.fail(f"no frame came within {_PATIENCE_S:g} s")


class Everything(NamedTuple):
    """What a camera gave until its end."""

    frames: List[Captured]
    errors: List[ImageError]


def capture_all(camera: Camera) -> Everything:
    """All frames of an open camera, to the end of its input."""
    everything = Everything([], [])
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            captured = camera.capture(reserve, 0.2)
        except ImageError as error:
            everything.errors.append(error)
        except EndOfInputError:
            return everything
        else:
            everything.frames.extend([captured] if captured is not None else [])
    pytest.fail(f"the end did not come within {_PATIENCE_S:g} s")


def play(camera: Camera) -> Everything:
    """Open, and capture all."""
    camera.open()
    return capture_all(camera)
