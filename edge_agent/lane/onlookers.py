"""Who looks on while a lane inspects: the live page, for one. None of them can hold up or spoil a verdict."""

from __future__ import annotations

import logging
from typing import Callable, Optional, Protocol, Sequence

from edge_agent.frame import Frame, Pixels
from edge_agent.inspection import Inspection

_log = logging.getLogger(__name__)


class Onlooker(Protocol):
    def look(self, frame: Frame, inspection: Inspection, mask: Callable[[], Optional[Pixels]]) -> None:
        """One more inspection.

        Args:
            frame: its pixels are another frame's when this has returned.
            inspection: of the frame.
            mask: gives a copy of the mask, RGB888 of any size, or None; may be called until this returns.
        """


class Onlookers:
    """Of one lane; used by its inspecting thread. One that fails is looked after no more, and the log says why."""

    def __init__(self, lane: str, onlookers: Sequence[Onlooker]) -> None:
        self._lane = lane
        self._onlookers = list(onlookers)

    def look(self, frame: Frame, inspection: Inspection, mask: Callable[[], Optional[Pixels]]) -> None:
        for onlooker in tuple(self._onlookers):
            try:
                onlooker.look(frame, inspection, mask)
            except Exception:  # noqa: BLE001 - what is shown must not cost a verdict
                _log.exception("lane %s: what it decides is shown no more", self._lane, extra={"lane": self._lane})
                self._onlookers.remove(onlooker)
