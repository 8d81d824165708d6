"""Which parts are recorded: asked for by a command, by rule, every n-th."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Deque, Dict, Literal, NamedTuple, Optional

from edge_agent.inspection import Inspection
from edge_agent.recorder.settings import RecorderSettings

#: What a person says that a part is.
Label = Literal["normal", "anomaly"]


class Wanted(NamedTuple):
    """Why an image is recorded: `command`, `every`, or `rule NAME`; and what a person said of the part, if anything."""

    reason: str
    label: Optional[Label] = None


class Choice:
    """Safe to use from any thread."""

    def __init__(self, settings: RecorderSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._parts: Counter[str] = Counter()
        self._asked: Dict[str, Deque[Wanted]] = {}

    def ask(self, lane: str, frames: int, label: Optional[Label]) -> None:
        """The next frames of a lane are wanted, after those that were asked for before."""
        with self._lock:
            self._asked.setdefault(lane, deque()).extend([Wanted("command", label)] * frames)

    def asked(self, lane: str) -> int:
        """Frames of a lane that were asked for and did not come yet."""
        with self._lock:
            return len(self._asked.get(lane, ()))

    def of(self, inspection: Inspection) -> Optional[Wanted]:
        """Why the image of this inspection is wanted; None where it is not. Call it once for each."""
        settings, lane = self._settings, inspection.camera
        with self._lock:
            self._parts[lane] += 1
            is_nth = bool(settings.every) and self._parts[lane] % settings.every == 0
            if self._asked.get(lane):
                return self._asked[lane].popleft()
        for name, rule in settings.rules.items():
            if rule.is_met_by(inspection):
                return Wanted(f"rule {name}")
        return Wanted("every") if is_nth else None

    def give_back(self, lane: str, wanted: Wanted) -> None:
        """The image could not be taken; another frame is wanted where a person asked for one."""
        if wanted.reason == "command":
            with self._lock:
                self._asked.setdefault(lane, deque()).appendleft(wanted)
