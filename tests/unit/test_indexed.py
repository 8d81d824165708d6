"""A mask becomes an image of few colours where that loses nothing."""

from __future__ import annotations

import io
from typing import Any, List

import numpy as np
import pytest
from PIL import Image

from edge_agent.indexed import indexed

WHITE, GREEN, RED = (255, 255, 255), (0x23, 0xA4, 0x36), (255, 0, 0)


def mask_of(*colors: Any) -> Any:
    """Ten rows of each colour, sixty pixels wide."""
    return np.repeat(np.array(colors, np.uint8), 10, axis=0)[:, None, :].repeat(60, axis=1)


def test_a_mask_keeps_its_colours_and_each_pixel_the_number_of_its_class() -> None:
    mask = mask_of(GREEN, WHITE, RED, GREEN)
    stream = io.BytesIO()
    image = indexed(mask, ["#FFFFFF", "#23A436", "#ff0000"])
    assert image is not None
    image.save(stream, "PNG")
    written = Image.open(stream)
    assert (np.asarray(written.convert("RGB")) == mask).all()
    assert np.asarray(written)[::10, 0].tolist() == [1, 0, 2, 1]


@pytest.mark.parametrize(
    "colors",
    [
        [],
        ["#FFFFFF"],  # another one is in it
        ["#FFFFFF", "#23A436", "#23A436"],  # whose number would it have
        ["#FFFFFF", "#23A4"],
        ["#FFFFFF", ""],
        [f"#{number:06X}" for number in range(257)],
    ],
)
def test_a_mask_of_other_colours_than_its_classes_is_none(colors: List[str]) -> None:
    assert indexed(mask_of(WHITE, GREEN), colors) is None
