"""What the inspections of a lane said, summed up: verdicts, classes, and how long each stage took."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict

from edge_agent.figures import Histogram, HistogramReading
from edge_agent.inspection import Inspection, findings

#: Parts of the way from capture to verdict, as `timings_ms` of an inspection has them.
STAGES = ("decode", "wait", "detect", "total")

#: Upper bounds of the buckets, seconds.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: Of a lane; what more names there are is counted as `other`, so that no agent fills a monitoring system with series.
MAX_CLASSES = 64
OTHER = "other"

_MS = 1e3


@dataclass(frozen=True)
class Observed:
    """One reading. `classes` counts the parts in which a class was found."""

    verdicts: Dict[str, int]
    classes: Dict[str, int]
    stages: Dict[str, HistogramReading]


class LaneObservations:
    """Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._verdicts: Counter[str] = Counter(normal=0, anomalous=0)
        self._classes: Counter[str] = Counter()
        self._stages = {stage: Histogram(BOUNDS) for stage in STAGES}

    def note(self, inspection: Inspection) -> None:
        names = {anomaly.name for anomaly in findings(inspection.anomalies)}
        with self._lock:
            self._verdicts["anomalous" if inspection.is_anomalous else "normal"] += 1
            for name in names:
                known = name in self._classes or len(self._classes) < MAX_CLASSES
                self._classes[name if known else OTHER] += 1
        timings: Any = inspection.timings
        for stage, histogram in self._stages.items():
            histogram.observe(getattr(timings, stage) / _MS)

    def read(self) -> Observed:
        stages = {stage: histogram.read() for stage, histogram in self._stages.items()}
        with self._lock:
            return Observed(dict(self._verdicts), dict(self._classes), stages)


class Observations:
    """Of all lanes of an inspector; a lane that is built anew goes on with its own. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: Dict[str, LaneObservations] = {}

    def of(self, lane: str) -> LaneObservations:
        with self._lock:
            return self._lanes.setdefault(lane, LaneObservations())

    def read(self) -> Dict[str, Observed]:
        """By lane."""
        with self._lock:
            lanes = dict(self._lanes)
        return {name: observations.read() for name, observations in lanes.items()}
