"""How long an output takes: from when an action was due to when it was done, from a fault to the safe state."""

from __future__ import annotations

from collections import deque
from typing import Any, Deque, Dict, List, Optional

# The newest of each are kept.
_NEWEST = 1000


class Times:
    """Its caller holds a lock. All times are the monotonic clock's, in nanoseconds."""

    def __init__(self) -> None:
        self._lags: Deque[float] = deque(maxlen=_NEWEST)
        self._safe: Deque[float] = deque(maxlen=_NEWEST)
        self._fault_ns: Optional[int] = None

    def done(self, due_ns: int, now_ns: int) -> None:
        """An action that was due then is done now."""
        self._lags.append((now_ns - due_ns) / 1e6)

    def fault(self, seen_ns: int) -> None:
        """A fault was seen; of several before the safe state, the first one counts."""
        if self._fault_ns is None:
            self._fault_ns = seen_ns

    def is_faulty(self) -> bool:
        """Whether a fault was seen since it was safe last."""
        return self._fault_ns is not None

    def safe(self, now_ns: int) -> None:
        """The output is in its safe state."""
        if self._fault_ns is not None:
            self._safe.append((now_ns - self._fault_ns) / 1e6)
            self._fault_ns = None

    def as_dict(self) -> Dict[str, Any]:
        """For the report, in milliseconds; without what there is nothing of."""
        found: Dict[str, Any] = {}
        if self._lags:
            lags = sorted(self._lags)
            found["lag_ms"] = {"p50": _at(lags, 0.5), "p99": _at(lags, 0.99), "max": round(lags[-1], 3)}
        if self._safe:
            found["safe_after_fault_ms"] = {"last": round(self._safe[-1], 3), "max": round(max(self._safe), 3)}
        return found


def _at(values: List[float], quantile: float) -> float:
    return round(values[min(len(values) - 1, int(quantile * len(values)))], 3)
