"""Frame: one captured image, in the shared-memory slot it was decoded into (design: two nouns)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Optional

import numpy as np
import numpy.typing as npt

#: Sides an Edge Agent accepts, in pixels (contract section 1.5).
MIN_SIDE = 64
MAX_SIDE = 4096

#: Bytes of one RGB888 pixel.
CHANNELS = 3

Pixels = npt.NDArray[np.uint8]


def do_nothing() -> None:
    """What there is to do for a camera whose images need no keeping."""


@dataclass(frozen=True)
class Placement:
    """Where the pixels lie in shared memory: the segment's shm_open name and a byte range in it."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Frame:
    """One captured image. Immutable; `release` gives its slot back, and must be called exactly once.

    Attributes:
        camera: id of the camera (the lane's name).
        sequence: goes up with each frame of this camera and is never used twice, also by a later run.
        pixels: RGB888, shape (height, width, 3), uint8, C-contiguous, read-only.
        placement: the same bytes, as another process finds them.
        captured_at_ns: wall clock of capture, nanoseconds since 1970-01-01 UTC; data only.
        captured_ns: monotonic clock of capture, nanoseconds.
        decoded_ns: monotonic clock when the pixels were in the slot, nanoseconds.
        source: where the image came from: a file name, a camera's URL without credentials.
        trigger_id: the trigger that asked for it, if one did.
        settled: tells the camera that what became of the frame is final: its inspection is safe in the spool, or it was
            given up, or dropped by the lane's policy. Not called for a frame that a stop cut short, or whose inspection
            was lost: it is to be inspected another time. Returns at once.
        release: returns the slot to its ring; raises SharedMemoryError on a second call.
    """

    camera: str
    sequence: int
    pixels: Pixels = field(repr=False)
    placement: Placement
    captured_at_ns: int
    captured_ns: int
    decoded_ns: int
    source: str
    release: Callable[[], None] = field(repr=False)
    trigger_id: Optional[str] = None
    settled: Callable[[], None] = field(default=do_nothing, repr=False)

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])
