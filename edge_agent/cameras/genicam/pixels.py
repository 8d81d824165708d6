"""What a GenICam camera sends, to RGB888.

Formats are named as in the Pixel Format Naming Convention (PFNC) of the EMVA. The arithmetic:

- Samples of more than 8 bits keep their upper 8: `sample >> (bits - 8)`, never rounded, so that the white of every
  depth is 255 and the depth of a camera does not change what a model sees.
- A mosaic (Bayer) is first cut to 8 bits, then interpolated bilinearly by OpenCV: a missing colour is the mean of its
  two or four nearest samples, halves rounded up; the outermost rows and columns take their inner neighbours' colours.
- Grey becomes three equal channels.
"""

from __future__ import annotations

from typing import Callable, Dict, NamedTuple, Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.cameras.base import Reserve, size_problem
from edge_agent.errors import ImageError, MissingExtraError
from edge_agent.frame import Pixels

Bytes = npt.NDArray[np.uint8]
_Unpack = Callable[[Bytes], Bytes]


class PixelFormat(NamedTuple):
    """One format.

    Attributes:
        name: in the PFNC.
        code: its number in the PFNC; the second byte is the bits of a pixel on the wire.
        group: pixels that fill whole bytes together; a row holds a multiple of it.
        unpack: rows of bytes, shape (height, bytes), to 8-bit samples of shape (height, samples).
        conversion: OpenCV's name of the way from those to RGB; empty where they are RGB.
    """

    name: str
    code: int
    group: int
    unpack: _Unpack
    conversion: str

    def row_bytes(self, width: int) -> int:
        bits = (self.code >> 16) & 0xFF
        return width * bits // 8


def decode(
    data: Bytes, pixel_format: int, width: int, height: int, padding: int, reserve: Reserve, name: str
) -> Pixels:
    """Put the image into the view (height, width, 3) uint8 RGB that `reserve(height, width)` gives.

    Args:
        data: the bytes that came, one dimension; what follows the image is not looked at.
        pixel_format: PFNC number.
        width: pixels.
        height: pixels.
        padding: bytes after each row.
        reserve: gives the place.
        name: of the frame, for errors.

    Raises:
        ImageError: a format that is not in FORMATS, a side outside 64..4096 pixels, or fewer bytes than the image has.
        MissingExtraError: OpenCV is not installed.
    """
    known = FORMATS.get(pixel_format)
    if known is None:
        names = ", ".join(sorted(f.name for f in FORMATS.values()))
        raise ImageError(name, f"has the pixel format 0x{pixel_format:08x}, which is not known", f"Set one of {names}.")
    problem = size_problem(width, height)
    if problem:
        raise ImageError(name, problem, "Set the camera's `region`.")
    if width % known.group:
        raise ImageError(name, f"has rows of {width} pixels, not of whole bytes in {known.name}", "Set its `region`.")
    row_bytes = known.row_bytes(width)
    stride = row_bytes + padding
    # The last row may come without its padding.
    needed = stride * (height - 1) + row_bytes
    if data.size < needed:
        raise ImageError(name, f"came with {data.size} bytes instead of {needed}", "Check the network and the camera.")
    rows: Bytes = np.lib.stride_tricks.as_strided(data, (height, row_bytes), (stride, 1), writeable=False)
    return _to_rgb(known, rows, reserve(height, width))


def _to_rgb(known: PixelFormat, rows: Bytes, pixels: Pixels) -> Pixels:
    if not known.conversion:
        pixels[...] = rows.reshape(pixels.shape)
        return pixels
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("opencv-python-headless", "genicam") from error
    samples = np.ascontiguousarray(known.unpack(rows))
    if known.conversion == "COLOR_BGR2RGB":
        samples = samples.reshape(pixels.shape)
    # Straight into the slot: the view has the shape and type that OpenCV would allocate.
    cv2.cvtColor(samples, getattr(cv2, known.conversion), dst=pixels)
    return pixels


def _eight(rows: Bytes) -> Bytes:
    return rows


def _sixteen(bits: int) -> _Unpack:
    """Samples of `bits` bits in the low end of two bytes, the low byte first."""

    def unpack(rows: Bytes) -> Bytes:
        return (np.ascontiguousarray(rows).view("<u2") >> (bits - 8)).astype(np.uint8)

    return unpack


def _gige_packed(rows: Bytes) -> Bytes:
    """Two samples in three bytes, the upper eight bits of each in the outer ones (GigE Vision's own packing)."""
    samples = np.empty((rows.shape[0], rows.shape[1] // 3 * 2), np.uint8)
    samples[:, 0::2] = rows[:, 0::3]
    samples[:, 1::2] = rows[:, 2::3]
    return samples


def _ten_p(rows: Bytes) -> Bytes:
    """Four samples in five bytes, lowest bit first, no gaps."""
    samples = np.empty((rows.shape[0], rows.shape[1] // 5 * 4), np.uint8)
    for index in range(4):
        # The upper eight bits of this sample begin so many bits into its first byte.
        skipped = 2 * index + 2
        low, high = rows[:, index::5], rows[:, index + 1 :: 5]
        # Of the last sample they are a byte of their own.
        samples[:, index::4] = (low >> skipped) | (high << (8 - skipped)) if skipped < 8 else high
    return samples


def _twelve_p(rows: Bytes) -> Bytes:
    """Two samples in three bytes, lowest bit first, no gaps."""
    samples = np.empty((rows.shape[0], rows.shape[1] // 3 * 2), np.uint8)
    samples[:, 0::2] = (rows[:, 0::3] >> 4) | (rows[:, 1::3] << 4)
    samples[:, 1::2] = rows[:, 2::3]
    return samples


# Suffix of a name: pixels in a group, how to unpack, and the numbers of Mono, BayerGR, BayerRG, BayerGB, BayerBG.
_SAMPLES: Dict[str, Tuple[int, _Unpack, Tuple[int, int, int, int, int]]] = {
    "8": (1, _eight, (0x01080001, 0x01080008, 0x01080009, 0x0108000A, 0x0108000B)),
    "10": (1, _sixteen(10), (0x01100003, 0x0110000C, 0x0110000D, 0x0110000E, 0x0110000F)),
    "12": (1, _sixteen(12), (0x01100005, 0x01100010, 0x01100011, 0x01100012, 0x01100013)),
    "16": (1, _sixteen(16), (0x01100007, 0x0110002E, 0x0110002F, 0x01100030, 0x01100031)),
    "10Packed": (2, _gige_packed, (0x010C0004, 0x010C0026, 0x010C0027, 0x010C0028, 0x010C0029)),
    "12Packed": (2, _gige_packed, (0x010C0006, 0x010C002A, 0x010C002B, 0x010C002C, 0x010C002D)),
    "10p": (4, _ten_p, (0x010A0046, 0x010A0056, 0x010A0058, 0x010A0054, 0x010A0052)),
    "12p": (2, _twelve_p, (0x010C0047, 0x010C0057, 0x010C0059, 0x010C0055, 0x010C0053)),
}

# The PFNC names a mosaic by the first two samples of its first row, OpenCV by all four of its cell.
_FAMILIES = (
    ("Mono", "COLOR_GRAY2RGB"),
    ("BayerGR", "COLOR_BayerGRBG2RGB"),
    ("BayerRG", "COLOR_BayerRGGB2RGB"),
    ("BayerGB", "COLOR_BayerGBRG2RGB"),
    ("BayerBG", "COLOR_BayerBGGR2RGB"),
)

_ALL = (
    PixelFormat("RGB8", 0x02180014, 1, _eight, ""),
    PixelFormat("BGR8", 0x02180015, 1, _eight, "COLOR_BGR2RGB"),
    *(
        PixelFormat(family + suffix, code, group, unpack, conversion)
        for suffix, (group, unpack, codes) in _SAMPLES.items()
        for (family, conversion), code in zip(_FAMILIES, codes)
    ),
)

#: What can be decoded, by PFNC number.
FORMATS: Dict[int, PixelFormat] = {known.code: known for known in _ALL}
