"""The server's figures for Prometheus (docs/metrics.md), counted as the server goes and asked of it when they are read.

A registry of its own, so that two servers in one process do not mix theirs.
"""

from __future__ import annotations

import time
from typing import Any, Dict, Iterator, List, Mapping, Protocol, Tuple

from edge_agent.errors import MissingExtraError
from edge_agent.model.verdict import StageTimings
from edge_agent.server.methods import METHODS
from edge_agent.server.registry import ModelDescription
from edge_agent.wire.edge_agent_pb2 import ModelStatus

_PREFIX = "edge_agent_server_"
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STAGES = ("wait", "preprocess", "inference", "postprocess")
_MS = 1e3


class Watched(Protocol):
    """What is asked of a server."""

    def models(self) -> List[ModelDescription]:
        """Every model."""

    def mappings(self) -> Mapping[str, Tuple[int, int]]:
        """Segments of clients that are mapped, by access: how many, and their bytes."""


class ServerMetrics:
    """A ServerObserver that keeps Prometheus's counters and histograms.

    Raises:
        MissingExtraError: the extra `metrics` is not installed.
    """

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError as error:
            raise MissingExtraError("prometheus-client", "metrics") from error
        self.registry = CollectorRegistry(auto_describe=True)

        def made(kind: Any, name: str, words: str, *labels: str, **more: Any) -> Any:
            return kind(f"{_PREFIX}{name}", words, labels, registry=self.registry, **more)

        calls = made(Counter, "calls", "Calls answered.", "method", "code")
        in_flight = made(Gauge, "calls_in_flight", "Calls that are not answered yet.", "method")
        seconds = made(Histogram, "call_seconds", "From request to answer.", "method", buckets=_SECONDS)
        queue = made(Gauge, "queue_length", "Calls that wait for their turn on a model.", "model")
        stages = made(Histogram, "stage_seconds", "Stages of DetectAnomalies.", "model", "stage", buckets=_SECONDS)
        loads = made(Counter, "model_loads", "Models loaded, or failed to load.", "model", "result")
        # Finding a child by its labels costs as much as counting.
        self.calls = _Children(calls)
        self.in_flight = _Children(in_flight)
        self.seconds = _Children(seconds)
        self.queue = _Children(queue)
        self.stages = _Children(stages)
        self._loads = loads
        for method in METHODS:
            self.calls.of(method, "OK")
            self.in_flight.of(method)
            self.seconds.of(method)

    def watch(self, server: Watched) -> None:
        """Ask this server for its models and mappings whenever the figures are read."""
        self.registry.register(_ServerState(server))

    def call(self, method: str) -> _Call:
        return _Call(self, method)

    def loaded(self, component: str, failure: str) -> None:
        self._loads.labels(component, "failed" if failure else "loaded").inc()


class _Children:
    """A metric's children by their labels."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._children: Dict[Tuple[str, ...], Any] = {}

    def of(self, *labels: str) -> Any:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._metric.labels(*labels)
        return child


class _Call:
    """One call; see CallObserver."""

    __slots__ = ("_began", "_component", "_method", "_metrics", "_waits")

    def __init__(self, metrics: ServerMetrics, method: str) -> None:
        self._metrics = metrics
        self._method = method
        self._component = ""
        self._waits = False
        self._began = time.perf_counter()
        metrics.in_flight.of(method).inc()

    def waits(self, component: str) -> None:
        self._component = component
        self._waits = True
        self._metrics.queue.of(component).inc()

    def has_turn(self, waited_ms: float) -> None:
        self._leave_queue()
        self._metrics.stages.of(self._component, "wait").observe(waited_ms / _MS)

    def computed(self, timings: StageTimings) -> None:
        of = self._metrics.stages.of
        of(self._component, "preprocess").observe(timings.preprocess / _MS)
        of(self._component, "inference").observe(timings.inference / _MS)
        of(self._component, "postprocess").observe(timings.postprocess / _MS)

    def ends(self, code: str) -> None:
        if self._waits:
            self._leave_queue()
        metrics = self._metrics
        metrics.calls.of(self._method, code).inc()
        metrics.seconds.of(self._method).observe(time.perf_counter() - self._began)
        metrics.in_flight.of(self._method).dec()

    def _leave_queue(self) -> None:
        self._waits = False
        self._metrics.queue.of(self._component).dec()


class _ServerState:
    """What is asked when it is read: states, versions, mappings. A collector in Prometheus's sense."""

    def __init__(self, server: Watched) -> None:
        self._server = server

    def describe(self) -> List[Any]:
        """Nothing: the registry would otherwise collect once to learn the names."""
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        models = self._server.models()
        states = GaugeMetricFamily(
            f"{_PREFIX}model_state", "1 for the state that a model is in.", labels=("model", "state")
        )
        identities = GaugeMetricFamily(f"{_PREFIX}model_info", "1 for each model.", labels=("model", "arn"))
        engines = GaugeMetricFamily(f"{_PREFIX}model_engines", "Engines that are loaded.", labels=("model",))
        for model in models:
            engines.add_metric((model.component,), float(model.state.engines))
            for name, number in ModelStatus.items():
                states.add_metric((model.component, name), float(model.state.status == number))
            identities.add_metric((model.component, model.arn), 1.0)
        yield states
        yield identities
        yield engines
        segments = GaugeMetricFamily(
            f"{_PREFIX}shared_memory_segments", "Segments of clients that are mapped.", labels=("access",)
        )
        mapped = GaugeMetricFamily(
            f"{_PREFIX}shared_memory_bytes", "Address space of these mappings.", labels=("access",)
        )
        for access, (count, size) in self._server.mappings().items():
            segments.add_metric((access,), float(count))
            mapped.add_metric((access,), float(size))
        yield segments
        yield mapped
