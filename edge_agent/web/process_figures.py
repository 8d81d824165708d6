"""What a process costs: prometheus_client's own figures, and memory with shared pages counted in parts."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Iterator, List, Optional

from edge_agent.errors import MissingExtraError

_PROC = Path("/proc")
_KIB = 1024


def add_process_figures(registry: Any) -> None:
    """Add `process_*` and `edge_agent_process_pss_bytes` to a CollectorRegistry.

    Raises:
        MissingExtraError: the extra `metrics` is not installed.
    """
    try:
        from prometheus_client import ProcessCollector
    except ImportError as error:
        raise MissingExtraError("prometheus-client", "metrics") from error
    ProcessCollector(registry=registry)
    registry.register(_Memory())


class _Memory:
    """This process and its children, which run compiled models. A collector in Prometheus's sense."""

    def describe(self) -> List[Any]:
        """Nothing: the registry would otherwise collect once to learn the names."""
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily(
            "edge_agent_process_pss_bytes", "Memory, shared pages counted in parts.", labels=("process",)
        )
        own = pss_bytes("self")
        if own is not None:
            family.add_metric(("self",), float(own))
            if (_PROC / "thread-self" / "children").exists():  # a kernel may be built without
                family.add_metric(("children",), float(sum(pss_bytes(str(child)) or 0 for child in children())))
        yield family


def pss_bytes(process: str) -> Optional[int]:
    """Proportional set size of /proc/`process`; None where the kernel does not say (before 4.14), or it is gone."""
    with contextlib.suppress(OSError):
        for line in (_PROC / process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * _KIB
    return None


def children() -> List[int]:
    """Process ids of this process's children, and of theirs."""
    found: List[int] = []
    level = ["self"]
    while level:
        below = [child for process in level for child in _children_of(process)]
        found += below
        level = [str(child) for child in below]
    return found


def _children_of(process: str) -> List[int]:
    ids: List[int] = []
    with contextlib.suppress(OSError):
        for thread in (_PROC / process / "task").iterdir():
            with contextlib.suppress(OSError):
                ids += [int(child) for child in (thread / "children").read_text().split()]
    return ids
