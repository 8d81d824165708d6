"""What the page keeps of each lane: its newest inspections, their course over time, and pictures while somebody looks."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any, Callable, Deque, Dict, List, Mapping, NamedTuple, Optional, Sequence

from edge_agent.clock import Clock
from edge_agent.frame import Frame, Pixels
from edge_agent.inspection import Anomaly, Inspection, findings, score_of

#: Inspections of a lane that the strip shows, and those that the histogram counts.
STRIP = 50
SCORES = 500
#: Seconds of the course over time.
COURSE_S = 300

# Newest pictures kept whole: a browser asks for one a moment after it heard of it.
_WHOLE = 6

# Shares of the pace that lie between two pictures at least. A line that is as quick as the pace would lose every second
# one to a moment's delay; and an anomalous part is what people look for.
_PACE, _ANOMALOUS_PACE = 0.8, 0.33

# Pictures are copied and developed for so long after somebody looked.
_WATCHED_NS = 10_000_000_000

#: Pixels of a developed picture's longer side. A copied one has at most twice as many: every second, third, … pixel is
#: taken, since that is quick, and the inspection waits for it.
SIDE = 960


class Picture(NamedTuple):
    """To be developed. Pixels are RGB888, (height, width, 3); the mask has any size, or is None, and its colours those of
    the anomalies.
    """

    sequence: int
    pixels: Pixels
    mask: Optional[Pixels]
    anomalies: Sequence[Anomaly]


class Developed(NamedTuple):
    """JPEG of the frame, PNG of the mask's found areas (transparent elsewhere; empty without any), small JPEG of both."""

    frame: bytes
    mask: bytes
    thumbnail: bytes


@dataclass
class _Second:
    at: int
    inspected: int = 0
    anomalous: int = 0
    total_ms: float = 0.0
    worst_ms: float = 0.0

    def as_list(self) -> List[float]:
        return [
            self.at,
            self.inspected,
            self.anomalous,
            round(self.total_ms / self.inspected, 2),
            round(self.worst_ms, 2),
        ]


class LaneAlbum:
    """Safe to use from any thread. What an inspection waits for is one append, and one copy while somebody looks."""

    def __init__(self, clock: Clock, pending: threading.Condition, looked: threading.Condition) -> None:
        self._clock = clock
        self._pending = pending
        self._looked = looked
        self._lock = threading.Lock()
        self._number = 0
        self._entries: Deque[Dict[str, Any]] = deque(maxlen=SCORES)
        self._seconds: Deque[_Second] = deque(maxlen=COURSE_S)
        self._watched_ns: Optional[int] = None
        self._pace_ns = 0
        self._copied_ns = 0
        self._picture: Optional[Picture] = None
        self._developed: OrderedDict[int, Developed] = OrderedDict()

    def look(self, frame: Frame, inspection: Inspection, mask: Callable[[], Optional[Pixels]]) -> None:
        """One more inspection; `mask` gives a copy of its mask, if any, and is called before this returns or not at all."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            self._number += 1
            self._entries.append(_entry(self._number, inspection))
            self._count(inspection, self._clock.wall_ns() // 1_000_000_000)
            wanted = self._is_wanted(now_ns, is_anomalous=inspection.is_anomalous)
        if wanted:
            self._copied_ns = now_ns
            picture = Picture(frame.sequence, _fewer(frame.pixels), mask(), inspection.anomalies)
            with self._pending:
                self._picture = picture
                self._pending.notify()
        with self._looked:
            self._looked.notify_all()

    def watch(self, pace_s: float) -> None:
        """Somebody looks now, and wants about one picture in `pace_s` seconds; of anomalous parts three times as many."""
        with self._lock:
            self._watched_ns = self._clock.monotonic_ns()
            self._pace_ns = round(pace_s * 1e9)

    def picture(self) -> Optional[Picture]:
        """The one to be developed; the lane goes on copying when `developed` took it."""
        return self._picture

    def developed(self, sequence: int, developed: Developed) -> None:
        with self._lock:
            self._picture = None
            self._developed[sequence] = developed
            whole = list(self._developed)
            for old in whole[:-_WHOLE]:
                self._developed[old] = self._developed[old]._replace(frame=b"", mask=b"")
            while len(self._developed) > STRIP:
                self._developed.popitem(last=False)

    def one(self, sequence: int) -> Optional[Developed]:
        with self._lock:
            return self._developed.get(sequence)

    def since(self, number: int, most: int) -> Dict[str, Any]:
        """What came after the inspection of that number, at most `most` of them, oldest first, as JSON has it.

        `number` of the answer is the newest one's; `pictures` are the sequences that have a small picture, `newest` is
        that of the last whole one; `course` has lists of second, inspected, anomalous, mean and greatest milliseconds.
        """
        with self._lock:
            entries = [entry for entry in self._entries if entry["number"] > number][-most:]
            whole = [sequence for sequence, developed in self._developed.items() if developed.frame]
            return {
                "number": self._number,
                "entries": entries,
                "pictures": list(self._developed),
                "newest": whole[-1] if whole else None,
            }

    def scores(self) -> List[float]:
        """Of the newest inspections, oldest first."""
        with self._lock:
            return [entry["score"] for entry in self._entries]

    def course(self, most: int) -> List[List[float]]:
        """The newest seconds in which something was inspected, oldest first."""
        with self._lock:
            return [second.as_list() for second in list(self._seconds)[-most:]]

    def _is_wanted(self, now_ns: int, *, is_anomalous: bool) -> bool:
        if self._picture is not None or self._watched_ns is None:
            return False
        pace_ns = self._pace_ns * (_ANOMALOUS_PACE if is_anomalous else _PACE)
        return now_ns - self._watched_ns < _WATCHED_NS and now_ns - self._copied_ns >= pace_ns

    def _count(self, inspection: Inspection, now: int) -> None:
        if not self._seconds or self._seconds[-1].at != now:
            self._seconds.append(_Second(now))
        second = self._seconds[-1]
        second.inspected += 1
        second.anomalous += inspection.is_anomalous
        second.total_ms += inspection.timings.total
        second.worst_ms = max(second.worst_ms, inspection.timings.total)


class Albums:
    """Of all lanes of an inspector; a lane that is built anew goes on with its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._albums: Dict[str, LaneAlbum] = {}
        #: Notified when a picture waits to be developed.
        self.pending = threading.Condition()
        self._looked = threading.Condition()

    def of(self, lane: str) -> LaneAlbum:
        with self._lock:
            return self._albums.setdefault(lane, LaneAlbum(self._clock, self.pending, self._looked))

    def all(self) -> Mapping[str, LaneAlbum]:
        with self._lock:
            return dict(self._albums)

    def wait(self, seconds: float) -> None:
        """Until the next inspection of any lane is done, no longer than so."""
        with self._looked:
            self._looked.wait(seconds)


def _entry(number: int, inspection: Inspection) -> Dict[str, Any]:
    return {
        "number": number,
        "sequence": inspection.sequence,
        "at_ms": inspection.captured_at_ns // 1_000_000,
        "anomalous": inspection.is_anomalous,
        "score": round(score_of(inspection.confidence, is_anomalous=inspection.is_anomalous), 4),
        "total_ms": round(inspection.timings.total, 2),
        "classes": [anomaly.as_dict() for anomaly in findings(inspection.anomalies)],
        "source": inspection.source[-80:],
    }


def _fewer(pixels: Pixels) -> Pixels:
    step = max(1, -(-max(pixels.shape[:2]) // (2 * SIDE)))
    return pixels[::step, ::step].copy()
