"""What the inspector answers to monitoring: /metrics, /health and /ready (docs/inspector-figures.md)."""

from __future__ import annotations

import threading
from typing import Any, Callable, Iterable, Iterator, Mapping, Union

from edge_agent.agent.inspector import Inspector
from edge_agent.agent.talk.status import OUTPUT_IS_WELL
from edge_agent.errors import MissingExtraError
from edge_agent.figures import Figure
from edge_agent.web import Pages, add_process_figures, make_registry

_CAMERA_WORKS = ("live", "stale")


def make_pages(inspector: Inspector, read: Callable[[], Iterable[Figure]], stop: threading.Event) -> Pages:
    """The pages of an inspector; without the extra `metrics`, /metrics says so and the others work.

    Args:
        inspector: whose they are.
        read: its figures.
        stop: of its run.
    """
    return Pages(
        _registry(read),
        health=lambda: why_not_healthy(inspector),
        ready=lambda: "the inspector is stopping" if stop.is_set() else why_not_ready(inspector),
    )


def why_not_healthy(inspector: Inspector) -> str:
    """Empty where nothing was stopped by a fault of ours: only a new start mends that."""
    parts = inspector.faulty_parts()
    return f"stopped by an internal error: {', '.join(parts)}" if parts else ""


def why_not_ready(inspector: Inspector) -> str:
    """Empty where every part can be judged and acted on; lanes that are paused or at their end are not asked."""
    report = inspector.report()
    if not report["lanes"]:
        return "the inspector is starting"
    unhealthy = why_not_healthy(inspector)
    return "; ".join([*([unhealthy] if unhealthy else []), *_troubles(report)])


def _troubles(report: Mapping[str, Any]) -> Iterator[str]:
    for name, lane in report["lanes"].items():
        if lane["state"] != "running":
            continue
        if lane["camera"] not in _CAMERA_WORKS:
            yield f"lane {name}: camera: {lane['camera']}"
        if lane["model_trouble"]:
            yield f"lane {name}: model: {lane['model_trouble']}"
    if report["spool"]["trouble"]:
        yield f"spool: {report['spool']['trouble']}"
    if report["recorder"].get("trouble"):
        yield f"recorder: {report['recorder']['trouble']}"
    # A line without its uplink is ready; one whose upload somebody has to mend is not.
    if report["recorder"]["upload"]["state"] == "trouble":
        yield f"recorder: upload: {report['recorder']['upload']['trouble']}"
    for name, output in report["outputs"].items():
        if output["state"] not in OUTPUT_IS_WELL and output["state"] != "faulty":
            yield f"output {name}: {output['state']}"


def _registry(read: Callable[[], Iterable[Figure]]) -> Union[Any, MissingExtraError]:
    try:
        registry = make_registry(read)
        add_process_figures(registry)
    except MissingExtraError as error:
        return error
    return registry
