"""A look at what a lane does: the next frame and what was decided, copied only when somebody waits for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Dict, Optional

from edge_agent.frame import Frame, Pixels
from edge_agent.inspection import Inspection


@dataclass(frozen=True)
class Snapshot:
    """One frame and its inspection.

    Attributes:
        pixels: RGB888, (height, width, 3), uint8; a copy.
        inspection: in its published form; None where the frame got no verdict.
    """

    pixels: Pixels
    inspection: Optional[Dict[str, Any]]


class Tap:
    """Costs the lane nothing while nobody waits, and one copy for all who do."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = 0
        self._number = 0
        self._newest: Optional[Snapshot] = None

    def next(self, timeout: float) -> Optional[Snapshot]:
        """The next frame that is settled; None when there was none within `timeout` seconds."""
        with self._changed:
            asked = self._number
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self._number > asked, timeout)
                return self._newest if self._number > asked else None
            finally:
                self._waiting -= 1
                if not self._waiting:
                    self._newest = None

    def give(self, frame: Frame, inspection: Optional[Inspection]) -> None:
        with self._changed:
            if not self._waiting:
                return
            document = inspection.as_dict() if inspection is not None else None
            self._newest = Snapshot(frame.pixels.copy(), document)
            self._number += 1
            self._changed.notify_all()
