"""A short look through a camera, for a person who sets it up: a few frames, their rate, what the camera says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional

import numpy as np

from edge_agent.cameras.base import Camera, Captured, Describes
from edge_agent.clock import Clock
from edge_agent.errors import CameraError, EndOfInputError, ImageError
from edge_agent.frame import Pixels

_LOOK_S = 0.2


@dataclass(frozen=True)
class Look:
    """What was seen.

    Attributes:
        last: the last frame.
        frames: how many came.
        failed: how many more came and could not become a frame.
        rate: frames a second between the first and the last; None for one frame.
        details: what the camera says of itself.
    """

    last: Captured
    frames: int
    failed: int
    rate: Optional[float]
    details: Mapping[str, Any]


def look(camera: Camera, subject: str, clock: Clock, *, frames: int, within_s: float, first_s: float) -> Look:
    """Open the camera, take frames, close it.

    Args:
        camera: not open.
        subject: what an error calls it.
        clock: time.
        frames: how many are wanted.
        within_s: seconds after the first frame within which they are wanted; fewer are taken otherwise.
        first_s: seconds that the first one may take.

    Raises:
        CameraError: it cannot be opened, or goes.
        ImageError: something came, and nothing that could become a frame.
    """
    try:
        camera.open()
        return _take(camera, subject, clock, frames, within_s, first_s)
    finally:
        camera.close()


def _take(camera: Camera, subject: str, clock: Clock, frames: int, within_s: float, first_s: float) -> Look:
    first: Optional[Captured] = None
    last: Optional[Captured] = None
    failure: Optional[ImageError] = None
    taken = failed = 0
    deadline_ns = clock.monotonic_ns() + int(first_s * 1e9)
    while taken < frames and clock.monotonic_ns() < deadline_ns:
        try:
            captured = camera.capture(_reserve, _LOOK_S)
        except EndOfInputError:
            break
        except ImageError as error:
            failure, failed = error, failed + 1
            continue
        if captured is None:
            continue
        if first is None:
            first, deadline_ns = captured, clock.monotonic_ns() + int(within_s * 1e9)
        last, taken = captured, taken + 1
    if first is None or last is None:
        raise failure or CameraError(subject, f"gave no frame within {first_s:g} s", "Does it wait for a trigger?")
    span_s = (last.captured_ns - first.captured_ns) / 1e9
    return Look(
        last=last,
        frames=taken,
        failed=failed,
        rate=(taken - 1) / span_s if span_s > 0 else None,
        details=camera.describe() if isinstance(camera, Describes) else {},
    )


def _reserve(height: int, width: int) -> Pixels:
    return np.empty((height, width, 3), np.uint8)
