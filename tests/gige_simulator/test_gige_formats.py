"""What the simulated sensor sends against what the camera makes of it: two programs, written apart."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.cameras.genicam.pixels import FORMATS, decode
from edge_agent.frame import Pixels
from edge_agent.gige_simulator.formats import WIRE_FORMATS

WIDTH, HEIGHT = 72, 66
DECODABLE = {known.name: known for known in FORMATS.values()}


def _through(name: str, image: Pixels) -> Pixels:
    wire = np.frombuffer(WIRE_FORMATS[name].encode(image), np.uint8)
    assert wire.size == WIRE_FORMATS[name].size(WIDTH, HEIGHT)
    place = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    return decode(wire, WIRE_FORMATS[name].code, WIDTH, HEIGHT, 0, lambda _height, _width: place, name)


def test_both_sides_know_the_same_formats_by_the_same_numbers() -> None:
    assert {name: known.code for name, known in WIRE_FORMATS.items()} == {n: k.code for n, k in DECODABLE.items()}


@pytest.mark.parametrize("name", sorted(WIRE_FORMATS))
def test_every_value_of_a_sample_comes_back(name: str) -> None:
    ramp = np.arange(HEIGHT * WIDTH, dtype=np.uint32).astype(np.uint8).reshape(HEIGHT, WIDTH)
    grey = np.repeat(ramp[:, :, None], 3, axis=2)
    if name.startswith("Bayer"):
        # Interpolation moves values between pixels; of one colour all over it moves none.
        for value in range(256):
            flat = np.full((HEIGHT, WIDTH, 3), value, np.uint8)
            np.testing.assert_array_equal(_through(name, flat), flat)
    else:
        np.testing.assert_array_equal(_through(name, grey), grey)


@pytest.mark.parametrize("name", sorted(n for n in WIRE_FORMATS if not n.startswith("Mono")))
def test_colours_come_back_as_themselves(name: str) -> None:
    colour = np.full((HEIGHT, WIDTH, 3), (210, 120, 30), np.uint8)
    np.testing.assert_array_equal(_through(name, colour), colour)
