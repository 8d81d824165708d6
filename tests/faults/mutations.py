"""Ways to spoil a good DetectAnomalies request, or the shared memory that it names."""

from __future__ import annotations

import random
from typing import Any, Callable, List

from faults.client_memory import HEIGHT, IMAGE_BYTES, WIDTH, Segments

Mutation = Callable[[Any, Segments, random.Random], None]

NAMES = [
    *("", "nuts", "BOLTS", " bolts", "bolts ", "bolts\n", "bolts\0", "\0", ".", "..", "/", "//", "bolts/mochi"),
    *("../bolts", "../../etc/passwd", "/etc/passwd", "/dev/shm/bolts", "..\\bolts", "%s%n%n", "${jndi:x}", "*"),
    *("\N{SNOWMAN}", "b\N{COMBINING DIAERESIS}olts", "\N{RIGHT-TO-LEFT OVERRIDE}stlob", "\U0010ffff" * 200),
    *("x" * 255, "x" * 256, "/" + "x" * 255, "\N{SNOWMAN}" * 255, "x" * 5000, "\N{SNOWMAN}" * 100_000),
]
_NUMBERS = [
    0,
    1,
    2,
    230399,
    230400,
    230401,
    2**31 - 1,
    2**31,
    2**32,
    2**63 - 1,
    2**43,
    2**63,
    2**64 - 230400,
    2**64 - 1,
]
_SIDES = [-(2**31), -4096, -64, -1, 0, 1, 63, 64, 65, 321, 4096, 4097, 2**16, 2**31 - 1]


def _handle(request: Any, choices: random.Random) -> Any:
    """The handle of the image or of the mask."""
    place = choices.choice([request.bitmap, request.anomaly_mask_params])
    return place.shared_memory_handle


def _component(request: Any, segments: Segments, choices: random.Random) -> None:
    request.model_component = choices.choice(NAMES)


def _one_side(request: Any, segments: Segments, choices: random.Random) -> None:
    setattr(request.bitmap, choices.choice(["width", "height"]), choices.choice(_SIDES))


def _sides_with_their_bytes(request: Any, segments: Segments, choices: random.Random) -> None:
    """The right number of bytes for sides at and beyond the limits."""
    request.bitmap.width, request.bitmap.height = choices.choice([(63, 64), (64, 63), (4097, 64), (64, 4097), (64, 64)])
    request.bitmap.byte_data = bytes(request.bitmap.width * request.bitmap.height * 3)


def _number_of_bytes(request: Any, segments: Segments, choices: random.Random) -> None:
    wrong = [0, 1, IMAGE_BYTES - 1, IMAGE_BYTES + 1, HEIGHT * WIDTH * 4, HEIGHT * WIDTH]
    request.bitmap.byte_data = bytes(choices.choice(wrong))


def _no_data(request: Any, segments: Segments, choices: random.Random) -> None:
    kind = request.bitmap.WhichOneof("data")
    request.ClearField("bitmap") if kind is None or choices.random() < 0.5 else request.bitmap.ClearField(kind)


def _segment_name(request: Any, segments: Segments, choices: random.Random) -> None:
    known = [segments.image, segments.mask, segments.image[1:], "/" + segments.image, segments.image + "\0"]
    _handle(request, choices).name = choices.choice([*NAMES, *segments.strange, *known])


def _segment_range(request: Any, segments: Segments, choices: random.Random) -> None:
    handle = _handle(request, choices)
    for field in choices.choice([["size"], ["offset"], ["size", "offset"]]):
        setattr(handle, field, choices.choice([*_NUMBERS, choices.randrange(2**64)]))


def _padded(request: Any, segments: Segments, choices: random.Random) -> None:
    """Rows of 317 pixels are 951 bytes, which GStreamer pads to 952."""
    request.bitmap.width = 317
    request.bitmap.shared_memory_handle.name = segments.image
    request.bitmap.shared_memory_handle.size = choices.choice([951, 952, 953]) * HEIGHT


def _segment_resized(request: Any, segments: Segments, choices: random.Random) -> None:
    size = choices.choice([0, 1, 4095, 4096, IMAGE_BYTES - 1, IMAGE_BYTES + 1, 2 * IMAGE_BYTES, 2**44])
    segments.resize(choices.choice([segments.image, segments.mask]), size)


def _segment_gone(request: Any, segments: Segments, choices: random.Random) -> None:
    segments.unlink(choices.choice([segments.image, segments.mask]))


def _segment_again(request: Any, segments: Segments, choices: random.Random) -> None:
    name = choices.choice([segments.image, segments.mask])
    segments.unlink(name)
    segments.resize(name, choices.choice([4096, IMAGE_BYTES, 2 * IMAGE_BYTES, 2**44]))


MUTATIONS: List[Mutation] = [
    *(_component, _one_side, _sides_with_their_bytes, _number_of_bytes, _no_data, _segment_name, _segment_range),
    *(_padded, _segment_resized, _segment_gone, _segment_again),
]
