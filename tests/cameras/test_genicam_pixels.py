"""Pixel formats of GenICam cameras to RGB888, bit for bit, against arithmetic written out sample by sample."""

from __future__ import annotations

from typing import List

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.cameras.genicam.pixels import FORMATS, decode
from edge_agent.errors import ImageError
from edge_agent.frame import Pixels

WIDTH, HEIGHT = 68, 64
BY_NAME = {known.name: known for known in FORMATS.values()}
Samples = npt.NDArray[np.uint16]

# Which colour (0 red, 1 green, 2 blue) lies where in the cell of two by two.
CELLS = {"GR": (1, 0, 2, 1), "RG": (0, 1, 1, 2), "GB": (1, 2, 0, 1), "BG": (2, 1, 1, 0)}


def _samples(bits: int) -> Samples:
    return np.random.default_rng(bits).integers(0, 1 << bits, (HEIGHT, WIDTH), dtype=np.uint16)


def _pack(row: List[int], suffix: str) -> bytes:
    """One row as the standards draw it: GigE Vision for `Packed`, the PFNC for the rest."""
    if suffix in ("10Packed", "12Packed"):
        low = 2 if suffix == "10Packed" else 4
        packed = b""
        for first, second in zip(row[0::2], row[1::2]):
            rest = (first & ((1 << low) - 1)) | (second & ((1 << low) - 1)) << 4
            packed += bytes((first >> low, rest, second >> low))
        return packed
    if suffix.endswith("p"):
        bits = int(suffix[:-1])
        number = sum(sample << (bits * index) for index, sample in enumerate(row))
        return number.to_bytes(len(row) * bits // 8, "little")
    return b"".join(sample.to_bytes(1 if suffix == "8" else 2, "little") for sample in row)


def _wire(samples: Samples, suffix: str, padding: int = 0) -> npt.NDArray[np.uint8]:
    rows = [_pack([int(sample) for sample in row], suffix) + b"\xa5" * padding for row in samples]
    return np.frombuffer(b"".join(rows), np.uint8)


def _decode(data: npt.NDArray[np.uint8], name: str, padding: int = 0) -> Pixels:
    slot = np.full((HEIGHT, WIDTH, 3), 77, np.uint8)
    filled = decode(data, BY_NAME[name].code, WIDTH, HEIGHT, padding, lambda _height, _width: slot, "frame 1")
    assert filled is slot, "decoded somewhere else than into the reserved view"
    return slot


def _bilinear(mosaic: npt.NDArray[np.int_], pattern: str) -> Pixels:
    """A missing colour is the mean of its nearest samples, halves up; the border repeats what lies inside it."""
    cell = CELLS[pattern]
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for y in range(1, HEIGHT - 1):
        for x in range(1, WIDTH - 1):
            for colour in range(3):
                if cell[(y % 2) * 2 + x % 2] == colour:
                    out[y, x, colour] = mosaic[y, x]
                    continue
                around = ((-1, 0), (1, 0), (0, -1), (0, 1))
                corners = ((-1, -1), (-1, 1), (1, -1), (1, 1))
                near = [
                    int(mosaic[y + down, x + right])
                    for steps in (around, corners)
                    for down, right in steps
                    if cell[((y + down) % 2) * 2 + (x + right) % 2] == colour
                ]
                # A green pixel has two of each other colour, a red or blue one four greens and four of the last.
                out[y, x, colour] = (sum(near) + len(near) // 2) // len(near)
    out[0], out[-1] = out[1], out[-2]
    out[:, 0], out[:, -1] = out[:, 1], out[:, -2]
    return out


def _bits(suffix: str) -> int:
    return int(suffix.rstrip("Packedp"))


SUFFIXES = ["8", "10", "12", "16", "10Packed", "12Packed", "10p", "12p"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_grey_keeps_the_upper_eight_bits(suffix: str) -> None:
    samples = _samples(_bits(suffix))
    expected = np.repeat((samples >> (_bits(suffix) - 8)).astype(np.uint8)[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(_decode(_wire(samples, suffix), f"Mono{suffix}"), expected)
    np.testing.assert_array_equal(_decode(_wire(samples, suffix, padding=6), f"Mono{suffix}", padding=6), expected)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("pattern", sorted(CELLS))
def test_mosaics_are_cut_to_eight_bits_and_interpolated(pattern: str, suffix: str) -> None:
    samples = _samples(_bits(suffix))
    expected = _bilinear((samples >> (_bits(suffix) - 8)).astype(int), pattern)
    np.testing.assert_array_equal(_decode(_wire(samples, suffix), f"Bayer{pattern}{suffix}"), expected)


@pytest.mark.parametrize("pattern", sorted(CELLS))
@pytest.mark.parametrize("colour", [0, 1, 2])
def test_a_mosaic_of_one_colour_has_that_colour(pattern: str, colour: int) -> None:
    cell = np.array(CELLS[pattern]).reshape(2, 2)
    samples = np.where(np.tile(cell, (HEIGHT // 2, WIDTH // 2)) == colour, 200, 0).astype(np.uint16)
    expected = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    expected[..., colour] = 200
    np.testing.assert_array_equal(_decode(_wire(samples, "8"), f"Bayer{pattern}8"), expected)


@pytest.mark.parametrize(("name", "order"), [("RGB8", [0, 1, 2]), ("BGR8", [2, 1, 0])])
def test_colours_come_in_their_order(name: str, order: List[int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    padded = np.full((HEIGHT, WIDTH * 3 + 5), 0xA5, np.uint8)
    padded[:, : WIDTH * 3] = image.reshape(HEIGHT, -1)
    np.testing.assert_array_equal(_decode(image.ravel(), name), image[..., order])
    np.testing.assert_array_equal(_decode(padded.ravel(), name, padding=5), image[..., order])
    np.testing.assert_array_equal(_decode(padded.ravel()[:-5], name, padding=5), image[..., order])


@pytest.mark.parametrize(
    ("code", "width", "height", "size", "reason"),
    [
        (0x02100032, 64, 64, 8192, r"pixel format 0x02100032, which is not known.*BayerBG12Packed"),
        (0x01080001, 63, 64, 4096, "63 x 64 pixels; an Edge Agent takes 64 to 4096"),
        (0x01080001, 64, 4097, 1 << 20, "64 x 4097 pixels"),
        (0x01080001, 64, 64, 4095, "came with 4095 bytes instead of 4096"),
        (0x010C0006, 65, 64, 1 << 20, "rows of 65 pixels, not of whole bytes in Mono12Packed"),
        (0x010A0046, 66, 64, 1 << 20, "rows of 66 pixels"),
    ],
)
def test_what_cannot_be_decoded_says_why(code: int, width: int, height: int, size: int, reason: str) -> None:
    with pytest.raises(ImageError, match=f"^frame 3: .*{reason}"):
        decode(np.zeros(size, np.uint8), code, width, height, 0, lambda _h, _w: pytest.fail("reserved"), "frame 3")


def test_the_bytes_of_a_row_are_those_of_the_standard() -> None:
    """PFNC 2.1: the second byte of a format's number is the bits of one pixel."""
    assert {name: BY_NAME[name].row_bytes(8) for name in ("Mono8", "Mono10", "Mono10Packed", "Mono10p", "RGB8")} == {
        "Mono8": 8,
        "Mono10": 16,
        "Mono10Packed": 12,
        "Mono10p": 10,
        "RGB8": 24,
    }
    assert len(FORMATS) == 42
