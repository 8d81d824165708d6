"""A folder camera meets malformed images: torn, flipped, empty, mislabelled, too small, too large, no files at all."""

from __future__ import annotations

import io
import random
import tempfile
import warnings
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import numpy as np
from PIL import Image
from support.messages import published

from edge_agent import sample
from edge_agent.cameras.decode import decode_image
from edge_agent.errors import ImageError
from edge_agent.frame import Pixels
from faults.line import Line, wait_until
from faults.outcome import Outcome

_GOOD_EVERY = 50
_AHEAD = 20  # good images that may wait: the folder stays small
_FORMATS = (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("tif", "TIFF"), ("webp", "WEBP"), ("ppm", "PPM"))
_LANE = "folder"

Mutation = Callable[[bytes, random.Random], bytes]


def _cut(data: bytes, choices: random.Random) -> bytes:
    return data[: choices.randrange(len(data))]


def _flip(data: bytes, choices: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(choices.randint(1, 20)):
        changed[choices.randrange(min(len(changed), 400))] ^= 1 << choices.randrange(8)
    return bytes(changed)


def _noise(_data: bytes, choices: random.Random) -> bytes:
    return bytes(choices.getrandbits(8) for _ in range(choices.randint(0, 2000)))


def _huge(_data: bytes, choices: random.Random) -> bytes:
    """A header of a picture that nobody could hold."""
    side = choices.choice((5000, 60_000, 2**31 - 1))
    return b"P6 %d %d 255\n" % (side, side) + bytes(100)


def _small(_data: bytes, choices: random.Random) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (choices.randint(1, 63), choices.randint(1, 63))).save(stream, "PNG")
    return stream.getvalue()


def _text(_data: bytes, _choices: random.Random) -> bytes:
    return b"<html>404 not found</html>"


_MUTATIONS: Tuple[Mutation, ...] = (_cut, _flip, _noise, _huge, _small, _text)


def run(count: int, seed: int) -> Outcome:
    """Show the lane `count` malformed images, and a good one after every 50."""
    outcome = Outcome(count)
    choices = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory:
        scratch = Path(directory)
        images = scratch / "images"
        images.mkdir()
        camera = {"type": "folder", "path": str(images), "poll_s": 0.02, "settle_s": 0, "torn_s": 0}
        line = Line(scratch, {_LANE: {"model": sample.MODEL_NAME, "camera": camera}})
        try:
            good, readable, memory = _show(line, images, count, choices)
            books = line.finish()[_LANE]
        finally:
            line.kill_all()
        messages = published(scratch / "record.jsonl")
        log = line.log()
    shown = count + good
    outcome.figures = {"good": good, "readable_though_changed": readable, "books": books, "pss_mb": memory}
    outcome.bars = {
        "every file is in exactly one counted place": books["captured"] == shown and books["balanced"],
        "what cannot be read is counted as a failed image": books["failed"] == {"image": count - readable},
        "every readable image was inspected and published": len(messages) == good + readable,
        "the lane was alive at the end": messages[-1]["image"]["source"].endswith("last.png"),
        "memory is bounded": memory["end"] - memory["start"] < 30,
        "no traceback": "Traceback" not in log,
    }
    return outcome


def _show(line: Line, images: Path, count: int, choices: random.Random) -> Tuple[int, int, Dict[str, float]]:
    """Numbers of good images, and of changed ones that can be read all the same; memory at start and end."""
    part = Image.fromarray(sample.render_part(1).image).resize((160, 120))
    sources: List[Tuple[str, bytes]] = []
    for suffix, kind in _FORMATS:
        stream = io.BytesIO()
        part.save(stream, kind)
        sources.append((suffix, stream.getvalue()))
    good = readable = 0

    def put(name: str, data: bytes) -> None:
        draft = images / ".draft"
        draft.write_bytes(data)
        draft.rename(images / name)

    put("000000-first.png", sources[0][1])
    good += 1
    wait_until(lambda: len(line.messages()) == 1, "the first image was not inspected")
    memory = {"start": round(line.inspector_pss_mb(), 1)}
    for number in range(1, count + 1):
        suffix, data = choices.choice(sources)
        changed = choices.choice(_MUTATIONS)(data, choices)
        name = f"{number:06d}.{suffix}"
        put(name, changed)
        readable += _is_readable(images / name)
        if number % _GOOD_EVERY == 0:
            put(f"{number:06d}-good.png", sources[0][1])
            good += 1
            wait_until(
                lambda least=good + readable - _AHEAD: len(line.messages()) >= least, "the lane fell behind", 120
            )
    put("999999-last.png", sources[0][1])
    good += 1
    wait_until(lambda: len(line.messages()) == good + readable, "the last image was not inspected", 120)
    memory["end"] = round(line.inspector_pss_mb(), 1)
    return good, readable, memory


def _is_readable(path: Path) -> bool:
    """Whether Pillow reads it all the same: a flipped bit may change nothing but a colour."""

    def reserve(height: int, width: int) -> Pixels:
        return np.empty((height, width, 3), np.uint8)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about what is wrong with the file
        try:
            decode_image(path, reserve)
        except ImageError:
            return False
    return True
