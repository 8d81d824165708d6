"""Figures as Prometheus has them: read whenever it asks, of whoever keeps them."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Callable, Iterable, Iterator, List

from edge_agent.errors import MissingExtraError
from edge_agent.figures import Figure, HistogramReading

Read = Callable[[], Iterable[Figure]]


def make_registry(read: Read) -> Any:
    """A CollectorRegistry with the figures that `read` gives at each reading, from any thread.

    Raises:
        MissingExtraError: the extra `metrics` is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry
    except ImportError as error:
        raise MissingExtraError("prometheus-client", "metrics") from error
    registry = CollectorRegistry(auto_describe=True)
    registry.register(_Collector(read))
    return registry


class _Collector:
    """A collector in Prometheus's sense."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def describe(self) -> List[Any]:
        """Nothing: the registry would otherwise collect once to learn the names."""
        return []

    def collect(self) -> Iterator[Any]:
        for figure in self._read():
            if figure.samples:
                yield _family(figure)


def _family(figure: Figure) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.utils import floatToGoString

    definition = figure.definition
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    family = kinds[definition.kind](definition.name, definition.words, labels=definition.labels)
    for sample in figure.samples:
        if isinstance(sample.value, HistogramReading):
            bounds = [floatToGoString(bound) for bound in (*sample.value.bounds, float("inf"))]
            family.add_metric(sample.labels, list(zip(bounds, accumulate(sample.value.counts))), sample.value.sum)
        else:
            family.add_metric(sample.labels, float(sample.value))
    return family
