"""The inspector's figures for Amazon CloudWatch, by way of the component aws.greengrass.Cloudwatch of the device.

It takes one metric a message, on a local topic. A counter is told as what it rose by since it was told before, so that a
sum over time is right whatever was lost on the way; a histogram as the mean since then.
"""

from __future__ import annotations

import json
import math
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, NamedTuple, Optional, Tuple, Union

from edge_agent.agent.talk.outbox import Outbox
from edge_agent.agent.talk_settings import CloudwatchSettings
from edge_agent.clock import Clock
from edge_agent.errors import IpcError
from edge_agent.figures import Definition, Figure, HistogramReading, Sample, Unit

#: In the outbox at once: replies to commands wait behind them.
AT_ONCE = 4

_NAME = "metric for CloudWatch"

_UNITS: Dict[Unit, str] = {"count": "Count", "seconds": "Seconds", "bytes": "Bytes", "state": "None"}

# Of CloudWatch: a dimension's value is ASCII, and not empty.
_MAX_VALUE = 255
_NOTHING = "-"

_Key = Tuple[str, Tuple[str, ...]]
_Value = Union[float, HistogramReading]


class _Metric(NamedTuple):
    """One message to come: which series, its value for CloudWatch, and what it will have been told of then."""

    key: _Key
    definition: Definition
    value: float
    told: _Value


class CloudwatchMetrics:
    """`tick` is called by one thread at a time; `configure` by any.

    Args:
        figures: the inspector's, as they are now.
        outbox: where messages go.
        clock: time.
    """

    def __init__(self, figures: Callable[[], Iterable[Figure]], outbox: Outbox, clock: Clock) -> None:
        self._figures = figures
        self._outbox = outbox
        self._clock = clock
        self._lock = threading.Lock()
        self._settings = CloudwatchSettings()
        self._told: Dict[_Key, _Value] = {}
        self._left: Deque[_Metric] = deque()
        self._under_way = 0
        self._read_ns: Optional[int] = None
        self._read_at_ns = 0

    def configure(self, settings: CloudwatchSettings) -> None:
        with self._lock:
            if settings != self._settings:
                self._settings = settings
                self._read_ns = None
                self._left.clear()

    def tick(self) -> None:
        """Read the figures where it is time to, and hand over a few messages."""
        settings = self._settings
        if not settings.every_s:
            return
        now_ns = self._clock.monotonic_ns()
        due = self._read_ns is None or now_ns - self._read_ns >= settings.every_s * 1e9
        if due and not self._left:
            self._read_ns, self._read_at_ns = now_ns, self._clock.wall_ns()
            metrics = list(self._metrics(settings))
            with self._lock:
                self._left.extend(metrics)
        self._hand_over(settings)

    def _metrics(self, settings: CloudwatchSettings) -> Iterator[_Metric]:
        for figure in self._figures():
            if settings.names and figure.definition.name not in settings.names:
                continue
            for sample in figure.samples:
                key = (figure.definition.name, sample.labels)
                value = _news(figure.definition, sample, self._told.get(key))
                if value is not None and math.isfinite(value):
                    yield _Metric(key, figure.definition, value, sample.value)

    def _hand_over(self, settings: CloudwatchSettings) -> None:
        while True:
            with self._lock:
                if not self._left or self._under_way >= AT_ONCE:
                    return
                metric = self._left.popleft()
                self._under_way += 1
            if not self._put(metric, settings):
                # The outbox is full of other things: what is left comes with the next reading.
                with self._lock:
                    self._under_way -= 1
                    self._left.clear()
                return

    def _put(self, metric: _Metric, settings: CloudwatchSettings) -> bool:
        message = encode(metric.definition, metric.key[1], metric.value, settings.namespace, self._read_at_ns)

        def done(error: Optional[IpcError]) -> None:
            with self._lock:
                self._under_way -= 1
                if error is None:
                    self._told[metric.key] = metric.told

        return self._outbox.put(
            _NAME,
            lambda client: client.publish_to_topic(settings.topic, message),
            size=len(message),
            keep_s=settings.every_s,
            done=done,
        )


def encode(definition: Definition, labels: Tuple[str, ...], value: float, namespace: str, at_ns: int) -> bytes:
    """A message as the component takes it; `at_ns`: wall clock, nanoseconds since 1970-01-01 UTC."""
    metric: Dict[str, Any] = {
        "metricName": definition.name,
        "dimensions": [{"name": name, "value": _ascii(label)} for name, label in zip(definition.labels, labels)],
        "timestamp": round(at_ns / 1e9, 3),
        "value": value,
        "unit": _UNITS[definition.unit],
    }
    return json.dumps({"request": {"namespace": namespace, "metricData": metric}}, separators=(",", ":")).encode(
        "ascii"
    )


def _news(definition: Definition, sample: Sample, told: Optional[_Value]) -> Optional[float]:
    """The value to tell; None where nothing happened that is worth a message."""
    value = sample.value
    if isinstance(value, HistogramReading):
        before = told if isinstance(told, HistogramReading) else HistogramReading(value.bounds, (), 0.0)
        if value.total < before.total:
            before = HistogramReading(value.bounds, (), 0.0)
        count = value.total - before.total
        return (value.sum - before.sum) / count if count else None
    last = 0.0 if told is None or isinstance(told, HistogramReading) else told
    if definition.kind == "counter":
        rise = value - last if value >= last else value  # what it counts has begun anew
        return rise or None
    if definition.unit == "state" and not value and not last:
        return None
    return value


def _ascii(label: str) -> str:
    return label[:_MAX_VALUE].encode("ascii", "replace").decode() or _NOTHING
