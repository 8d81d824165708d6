"""Develops pictures for the page: JPEG and PNG are made on a thread of its own, off the way of every inspection."""

from __future__ import annotations

import io
import logging
import threading
from typing import Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from edge_agent.frame import Pixels
from edge_agent.indexed import indexed
from edge_agent.inspection import Anomaly
from edge_agent.overlay import background_color, found_areas, scaled
from edge_agent.page.album import SIDE, Albums, Developed, LaneAlbum, Picture

_log = logging.getLogger(__name__)

_THUMBNAIL = 120
_QUALITY = 80
_THUMBNAIL_QUALITY = 70
_OPAQUE = 255

# Seconds between two pictures of all lanes together: eyes see no more, and the inspections need the processor.
_PACE_S = 0.05
_LOOK_S = 0.5


class Darkroom:
    """Works from `open` to `close`.

    Args:
        albums: where the pictures wait, and go.
    """

    def __init__(self, albums: Albums) -> None:
        self._albums = albums
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="darkroom", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        with self._albums.pending:
            self._albums.pending.notify_all()

    def _work(self) -> None:
        while not self._closed.is_set():
            worked = False
            for album in self._albums.all().values():
                picture = album.picture()
                if picture is not None:
                    self._develop(album, picture)
                    worked = True
            if worked:
                self._closed.wait(_PACE_S)
                continue
            with self._albums.pending:
                if not any(album.picture() for album in self._albums.all().values()):
                    self._albums.pending.wait(_LOOK_S)

    def _develop(self, album: LaneAlbum, picture: Picture) -> None:
        try:
            developed = develop(picture)
        except Exception:  # noqa: BLE001 - a picture less must not end all others
            _log.exception("a picture for the page could not be made")
            developed = Developed(b"", b"", b"")
        album.developed(picture.sequence, developed)


def develop(picture: Picture) -> Developed:
    """Frame of at most 960 pixels a side, the found areas in the mask's colours, and a thumbnail of 120 with both."""
    frame = Image.fromarray(picture.pixels)
    frame.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    found = None if picture.mask is None else _found(picture.mask, picture.anomalies, frame.size)
    small = frame.copy()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BILINEAR)
    mask = b""
    if found is not None:
        mask = _encode(found, "PNG", compress_level=1)
        over = found.resize(small.size, Image.Resampling.NEAREST).convert("RGBA")
        small = Image.composite(Image.blend(small, over.convert("RGB"), 0.6), small, over.getchannel("A"))
    return Developed(_encode(frame, "JPEG", quality=_QUALITY), mask, _encode(small, "JPEG", quality=_THUMBNAIL_QUALITY))


def _found(mask: Pixels, anomalies: Sequence[Anomaly], size: Tuple[int, int]) -> Optional[Image.Image]:
    """The mask, transparent where it is background; None where it is nothing else."""
    background = background_color(anomalies)
    colors = list(dict.fromkeys([background, *(anomaly.hex_color for anomaly in anomalies)]))
    mask = scaled(mask, size)
    image = indexed(mask, colors)
    if image is not None:
        image.info["transparency"] = 0
        return image if image.getextrema() != (0, 0) else None
    # Colours that no class has, as of an agent that smooths its masks.
    mask, found = found_areas(mask, background, size)
    if not found.any():
        return None
    return Image.fromarray(np.dstack([mask, found.astype(np.uint8) * _OPAQUE]))


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
