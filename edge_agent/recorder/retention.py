"""Which images go when there are too many: by bytes, by age, by the free disk; anomalies last."""

from __future__ import annotations

from collections import Counter, deque
from itertools import chain, takewhile
from typing import Callable, Deque, Dict, Iterable, Iterator, List, Optional

from edge_agent.recorder.names import Kept
from edge_agent.recorder.settings import RecorderSettings

_DAY_NS = 86_400 * 1_000_000_000

# Taken away more than has to be, so that a manifest is not written anew with each image.
_SLACK = 50

# Of those that wait for their upload, at most so many are passed over: taking one away from behind them costs time.
_PASSED_OVER = 1000


class Retention:
    """What is kept, the oldest first. It decides; the store does. Used by one thread at a time.

    Args:
        settings: of the recorder.
        waits: whether an image waits for its upload: of normal ones, and of anomalies, such go last.
    """

    def __init__(self, settings: RecorderSettings, waits: Optional[Callable[[Kept], bool]] = None) -> None:
        self._settings = settings
        self._waits = waits
        self._normal: Deque[Kept] = deque()
        self._anomalous: Deque[Kept] = deque()
        self._lanes: Counter[str] = Counter()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._normal) + len(self._anomalous)

    def by_lane(self) -> Dict[str, int]:
        """How many are kept."""
        return {lane: count for lane, count in self._lanes.items() if count}

    def add(self, kept: Kept) -> None:
        (self._anomalous if kept.is_anomalous else self._normal).append(kept)
        self._lanes[kept.lane] += 1
        self.bytes += kept.bytes

    def forget(self, kept: Kept) -> None:
        """It is gone: one of those that were chosen, in their order."""
        queue = self._anomalous if kept.is_anomalous else self._normal
        if queue and queue[0] == kept:
            queue.popleft()
        else:
            queue.remove(kept)
        self._lanes[kept.lane] -= 1
        self.bytes -= kept.bytes

    def relabel(self, reference: str, *, is_anomalous: bool) -> None:
        """A person says what an image shows; it goes with those of its kind."""
        old, new = (self._normal, self._anomalous) if is_anomalous else (self._anomalous, self._normal)
        kept = next((one for one in old if one.reference == reference), None)
        if kept is None:
            return
        old.remove(kept)
        kept = kept._replace(is_anomalous=is_anomalous)
        later = (index for index, one in enumerate(new) if one.captured_at_ns > kept.captured_at_ns)
        new.insert(next(later, len(new)), kept)

    def over_age(self, now_ns: int) -> List[Kept]:
        """Those that are too old. Wall clock, nanoseconds since 1970-01-01 UTC."""
        if not self._settings.days:
            return []
        oldest_ns = now_ns - int(self._settings.days * _DAY_NS)
        return [
            kept
            for queue in (self._normal, self._anomalous)
            for kept in takewhile(lambda kept: kept.captured_at_ns < oldest_ns, queue)
        ]

    def for_bytes(self, size: int, *, is_anomalous: bool) -> Optional[List[Kept]]:
        """What has to go so that a new image of so many bytes fits; None where it may not be kept.

        A normal image never takes an anomaly's place.
        """
        over = self.bytes + size - self._settings.bytes
        if over <= 0:
            return []
        return self._choose(over, self._settings.bytes // _SLACK, is_anomalous=is_anomalous)

    def for_free(self, free_bytes: int, *, is_anomalous: bool) -> Optional[List[Kept]]:
        """What has to go so that enough of the disk is free again; None where that cannot be had."""
        short = self._settings.free_bytes - free_bytes
        if short <= 0:
            return []
        return self._choose(short, self._settings.bytes // _SLACK, is_anomalous=is_anomalous)

    def _choose(self, need: int, slack: int, *, is_anomalous: bool) -> Optional[List[Kept]]:
        chosen: List[Kept] = []
        got = 0
        normal, anomalous = self._in_order(self._normal), self._in_order(self._anomalous)
        sources: Iterable[Kept] = chain(normal, anomalous) if is_anomalous else normal
        for kept in sources:
            # The slack is worth no anomaly.
            if got >= need + (0 if kept.is_anomalous else slack):
                break
            chosen.append(kept)
            got += kept.bytes
        return chosen if got >= need else None

    def _in_order(self, queue: Deque[Kept]) -> Iterator[Kept]:
        later: List[Kept] = []
        rest = iter(queue)
        for kept in rest:
            if self._waits is None or not self._waits(kept):
                yield kept
                continue
            later.append(kept)
            if len(later) == _PASSED_OVER:
                break
        yield from later
        yield from rest
