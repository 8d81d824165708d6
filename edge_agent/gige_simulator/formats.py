"""Pictures as a sensor sends them: RGB888 to the pixel formats of the PFNC, in bytes as they go over the wire.

The opposite of `cameras/genicam/pixels.py`, written apart from it, so that each can be tested against the other. A
sample of more than 8 bits is the 8-bit one with its own upper bits repeated below it, so white stays white.
"""

from __future__ import annotations

from typing import Callable, Dict, NamedTuple, Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.frame import Pixels

Samples = npt.NDArray[np.uint16]
_Pack = Callable[[Samples], npt.NDArray[np.uint8]]


class WireFormat(NamedTuple):
    """One format: its number in the PFNC, the bits of a sample, pixels that fill whole bytes together, how to encode.

    `encode` takes RGB888 of shape (height, width, 3) and gives the bytes of the image.
    """

    code: int
    bits: int
    group: int
    encode: Callable[[Pixels], bytes]

    def size(self, width: int, height: int) -> int:
        return width * height * ((self.code >> 16) & 0xFF) // 8


def _widen(samples: Pixels, bits: int) -> Samples:
    wide = samples.astype(np.uint16)
    upper: Samples = np.left_shift(wide, bits - 8, dtype=np.uint16)
    lower: Samples = np.right_shift(wide, 16 - bits, dtype=np.uint16)
    return upper | lower


def _bytes(samples: Samples) -> npt.NDArray[np.uint8]:
    return samples.astype(np.uint8)


def _words(samples: Samples) -> npt.NDArray[np.uint8]:
    return samples.astype("<u2").view(np.uint8)


def _gige_packed(bits: int) -> _Pack:
    """Two samples in three bytes: upper eight bits, the rest of both, upper eight bits (GigE Vision)."""
    low = bits - 8

    def pack(samples: Samples) -> npt.NDArray[np.uint8]:
        first, second = samples[:, 0::2], samples[:, 1::2]
        mask = (1 << low) - 1
        packed = np.empty((*first.shape, 3), np.uint8)
        packed[..., 0] = first >> low
        packed[..., 1] = (first & mask) | ((second & mask) << 4)
        packed[..., 2] = second >> low
        return packed

    return pack


def _dense(bits: int) -> _Pack:
    """Samples one after the other, lowest bit first, no gaps (PFNC, `p`)."""

    def pack(samples: Samples) -> npt.NDArray[np.uint8]:
        every_bit = (samples[:, :, None] >> np.arange(bits, dtype=np.uint16)) & 1
        packed: npt.NDArray[np.uint8] = np.packbits(every_bit.astype(np.uint8).ravel(), bitorder="little")
        return packed

    return pack


def _grey(image: Pixels) -> Pixels:
    """Luma of ITU-R BT.601 in integers; equal channels stay as they are."""
    red, green, blue = (image[..., channel].astype(np.uint32) for channel in range(3))
    luma: Pixels = ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)
    return luma


def _mosaic(cell: Tuple[int, int, int, int]) -> Callable[[Pixels], Pixels]:
    """Of each pixel the one channel that lies under its filter; `cell` goes row by row."""

    def take(image: Pixels) -> Pixels:
        samples = np.empty(image.shape[:2], np.uint8)
        for index, channel in enumerate(cell):
            samples[index // 2 :: 2, index % 2 :: 2] = image[index // 2 :: 2, index % 2 :: 2, channel]
        return samples

    return take


# Suffix: bits, pixels in a group, packing, and the PFNC's numbers of Mono, BayerGR, BayerRG, BayerGB, BayerBG.
_DEPTHS: Dict[str, Tuple[int, int, _Pack, Tuple[int, int, int, int, int]]] = {
    "8": (8, 1, _bytes, (0x01080001, 0x01080008, 0x01080009, 0x0108000A, 0x0108000B)),
    "10": (10, 1, _words, (0x01100003, 0x0110000C, 0x0110000D, 0x0110000E, 0x0110000F)),
    "10Packed": (10, 2, _gige_packed(10), (0x010C0004, 0x010C0026, 0x010C0027, 0x010C0028, 0x010C0029)),
    "10p": (10, 4, _dense(10), (0x010A0046, 0x010A0056, 0x010A0058, 0x010A0054, 0x010A0052)),
    "12": (12, 1, _words, (0x01100005, 0x01100010, 0x01100011, 0x01100012, 0x01100013)),
    "12Packed": (12, 2, _gige_packed(12), (0x010C0006, 0x010C002A, 0x010C002B, 0x010C002C, 0x010C002D)),
    "12p": (12, 2, _dense(12), (0x010C0047, 0x010C0057, 0x010C0059, 0x010C0055, 0x010C0053)),
    "16": (16, 1, _words, (0x01100007, 0x0110002E, 0x0110002F, 0x01100030, 0x01100031)),
}
_SENSORS: Tuple[Tuple[str, Callable[[Pixels], Pixels]], ...] = (
    ("Mono", _grey),
    ("BayerGR", _mosaic((1, 0, 2, 1))),
    ("BayerRG", _mosaic((0, 1, 1, 2))),
    ("BayerGB", _mosaic((1, 2, 0, 1))),
    ("BayerBG", _mosaic((2, 1, 1, 0))),
)


def _format(code: int, bits: int, group: int, pack: _Pack, sense: Callable[[Pixels], Pixels]) -> WireFormat:
    return WireFormat(code, bits, group, lambda image: pack(_widen(sense(image), bits)).tobytes())


#: By name. Rows follow one another without padding.
WIRE_FORMATS: Dict[str, WireFormat] = {
    "RGB8": WireFormat(0x02180014, 8, 1, lambda image: image.tobytes()),
    "BGR8": WireFormat(0x02180015, 8, 1, lambda image: image[..., ::-1].tobytes()),
    **{
        sensor + depth: _format(code, bits, group, pack, sense)
        for depth, (bits, group, pack, codes) in _DEPTHS.items()
        for (sensor, sense), code in zip(_SENSORS, codes)
    },
}
