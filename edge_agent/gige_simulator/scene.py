"""What lies before the simulated camera: pictures one after the other, as bright as exposure and gain make them."""

from __future__ import annotations

from collections import OrderedDict
from typing import List, Sequence, Tuple

import numpy as np
from PIL import Image

from edge_agent.frame import Pixels
from edge_agent.gige_simulator.registers import Registers

# With this exposure, no gain and no automatic a picture is sent as it is.
_NOMINAL_EXPOSURE_US = 10_000.0

# Images kept ready to be sent: what does not change is not encoded again.
_KEPT = 16


class Scene:
    """Pictures in turn.

    Args:
        pictures: RGB888, at least one; scaled to the sensor.
        width: of the sensor.
        height: of the sensor.
    """

    def __init__(self, pictures: Sequence[Pixels], width: int, height: int) -> None:
        if not pictures:
            raise ValueError("a scene has at least one picture")
        self._pictures: List[Pixels] = [_scaled(picture, width, height) for picture in pictures]
        self._ready: "OrderedDict[Tuple[object, ...], bytes]" = OrderedDict()

    def expose(self, number: int, registers: Registers) -> bytes:
        """The image of that number, counted from 0, in the format and of the region that are set."""
        index = number % len(self._pictures)
        x, y = registers.integer("OffsetX"), registers.integer("OffsetY")
        width, height = registers.integer("Width"), registers.integer("Height")
        brightness = _brightness(registers)
        key = (index, registers.integer("PixelFormat"), x, y, width, height, brightness)
        if key not in self._ready:
            part = self._pictures[index][y : y + height, x : x + width]
            if brightness != 1.0:
                lookup = np.clip(np.rint(np.arange(256) * brightness), 0, 255).astype(np.uint8)
                part = lookup[part]
            self._ready[key] = registers.wire_format.encode(np.ascontiguousarray(part))
            if len(self._ready) > _KEPT:
                self._ready.popitem(last=False)
        return self._ready[key]


def _brightness(registers: Registers) -> float:
    if registers.entry("ExposureAuto") == "Continuous":
        return 1.0
    gain = 10.0 ** (registers.number("Gain") / 20)
    return float(registers.number("ExposureTime") / _NOMINAL_EXPOSURE_US * gain)


def _scaled(picture: Pixels, width: int, height: int) -> Pixels:
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
