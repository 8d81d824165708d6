"""The rendered sample parts as a camera: a line to try things on where there is none."""

from __future__ import annotations

from typing import Iterator, Optional

import numpy as np
from PIL import Image

from edge_agent.cameras.base import Captured, Reserve
from edge_agent.cameras.pace import Pace
from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.errors import CameraNotConnectedError, EndOfInputError
from edge_agent.frame import MAX_SIDE, MIN_SIDE, Pixels
from edge_agent.sample import SamplePart, part_stream
from edge_agent.sample.part import ANOMALOUS_SHARE
from edge_agent.sample.scene import HEIGHT, WIDTH

_MAX_SEED = 2**32 - 1


class SampleSettings(Settings, frozen=True, tag_field="type", tag="sample"):
    """Rendered parts.

    Attributes:
        rate: parts a second; 0: as fast as they can be rendered.
        seed: chooses the sequence of parts, always the same one.
        anomalous_share: share of the parts that have a defect, 0..1.
        count: the input ends after so many parts; 0: never.
        width, height: pixels; parts are drawn at 640 x 480 and scaled.
    """

    rate: float = 2.0
    seed: int = 0
    anomalous_share: float = ANOMALOUS_SHARE
    count: int = 0
    width: int = WIDTH
    height: int = HEIGHT

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1000:
            raise ValueError("`rate` must be 0 to 1000")
        if not 0 <= self.seed <= _MAX_SEED:
            raise ValueError(f"`seed` must be 0 to {_MAX_SEED}")
        if not 0 <= self.anomalous_share <= 1:
            raise ValueError("`anomalous_share` must be 0 to 1")
        if self.count < 0:
            raise ValueError("`count` must not be below 0")
        if not (MIN_SIDE <= self.width <= MAX_SIDE and MIN_SIDE <= self.height <= MAX_SIDE):
            raise ValueError(f"`width` and `height` must be {MIN_SIDE} to {MAX_SIDE}")


class SampleCamera:
    """Each opening begins the sequence anew. A part that is asked for late moves the later ones, none is left out."""

    free_running = False

    def __init__(self, settings: SampleSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._parts: Optional[Iterator[SamplePart]] = None
        self._given = 0
        self._pace = Pace(clock)

    def open(self) -> None:
        self._parts = part_stream(self._settings.seed, anomalous_share=self._settings.anomalous_share)
        self._given = 0
        self._pace = Pace(self._clock)

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        if self._parts is None:
            raise CameraNotConnectedError("sample", "is not open")
        if self._settings.count and self._given == self._settings.count:
            raise EndOfInputError("sample", "has no more parts")
        if self._settings.rate and not self._pace.wait(int(1e9 / self._settings.rate), timeout):
            return None
        captured_at_ns, captured_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        part = next(self._parts)
        self._given += 1
        pixels = reserve(self._settings.height, self._settings.width)
        pixels[...] = self._scaled(part)
        return Captured(f"part-{part.seed}", captured_at_ns, captured_ns, pixels)

    def close(self) -> None:
        self._parts = None

    def _scaled(self, part: SamplePart) -> Pixels:
        if part.image.shape[:2] == (self._settings.height, self._settings.width):
            return part.image
        size = (self._settings.width, self._settings.height)
        return np.asarray(Image.fromarray(part.image).resize(size, Image.Resampling.BILINEAR))
