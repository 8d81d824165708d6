"""Pictures of recorded images for the page, made when they are asked for."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Optional, Tuple

import numpy as np
from PIL import Image

from edge_agent.frame import MAX_SIDE, Pixels
from edge_agent.inspection import Anomaly
from edge_agent.page.album import Developed, Picture
from edge_agent.page.darkroom import develop
from edge_agent.recorder import Files

_log = logging.getLogger(__name__)

# Of the newest that were asked for, in memory: a page of neighbours, and what was looked at before.
_KEPT = 64

# Between two small pictures: eyes see no more, and the inspections need the processor. A large one does not wait.
_PACE_S = 0.05


class Prints:
    """Safe to use from any thread; one picture is made at a time, however many are asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pace = threading.Lock()
        self._made: OrderedDict[Tuple[str, str], Developed] = OrderedDict()

    def of(self, lane: str, name: str, files: Files, *, small: bool) -> Optional[Developed]:
        """The picture of a recorded image; None where its file is none that can be shown."""
        key = (lane, name)
        if key not in self._made and small:
            with self._pace:
                time.sleep(_PACE_S)
        with self._lock:
            if key not in self._made:
                made = _develop(files)
                if made is None:
                    return None
                self._made[key] = made
                while len(self._made) > _KEPT:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return self._made[key]


def _develop(files: Files) -> Optional[Developed]:
    try:
        found = [Anomaly(**one) for one in files.inspection["anomalies"]]
        pixels = _read(files.image)
        mask = None if files.mask is None else _read(files.mask)
        return develop(Picture(0, pixels, mask, found))
    except Exception:  # noqa: BLE001 - Pillow raises many types for torn files
        _log.warning("%s: cannot be shown", files.image, exc_info=True)
        return None


def _read(path: object) -> Pixels:
    with Image.open(str(path)) as image:
        if max(image.size) > MAX_SIDE:
            raise ValueError(f"{path}: is larger than any frame")
        pixels: Pixels = np.asarray(image.convert("RGB"))
        return pixels
