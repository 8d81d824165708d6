"""How the inspector is, as one JSON document: the health message, and the answer to `status`."""

from __future__ import annotations

import json
import os
import platform
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Mapping

from edge_agent import __version__
from edge_agent.agent.inspector import Inspector
from edge_agent.clock import Clock
from edge_agent.inspection import MAX_MESSAGE_BYTES

VERSION = 1

#: Both nuclei take it.
MAX_DOCUMENT_BYTES = MAX_MESSAGE_BYTES

#: States of an output that does what it should: `safe` is right while no part is judged.
OUTPUT_IS_WELL = ("safe", "working")

_COUNTS = ("captured", "in_flight", "inspected", "dropped", "failed", "delivered", "spooled", "expired", "late")


class Status:
    """Reads what others keep; safe to use from any thread, and holds nobody up.

    Args:
        inspector: the lanes and the spool.
        thing: the thing's name.
        clock: time.
        parts: more members of the document, by name: `configuration`, `delivery`, …
    """

    def __init__(
        self, inspector: Inspector, thing: str, clock: Clock, parts: Mapping[str, Callable[[], Dict[str, Any]]]
    ) -> None:
        self._inspector = inspector
        self._thing = thing
        self._clock = clock
        self._parts = parts
        self._started_ns = clock.monotonic_ns()

    def document(self) -> Dict[str, Any]:
        """The whole of it, however large; `fit` makes it a message."""
        wall = datetime.fromtimestamp(self._clock.wall_ns() / 1e9, timezone.utc)
        report = self._inspector.report()
        document: Dict[str, Any] = {
            "version": VERSION,
            "thing": self._thing,
            "at": wall.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "uptime_s": round((self._clock.monotonic_ns() - self._started_ns) / 1e9, 1),
            "versions": _versions(),
            "lanes": self._lanes(report),
            "spool": report.get("spool", {}),
            "outputs": _outputs(report.get("outputs", {})),
            "recorder": {**_state(report["recorder"]), "upload": _state(report["recorder"]["upload"])},
        }
        document.update({name: part() for name, part in self._parts.items()})
        return document

    def _lanes(self, report: Mapping[str, Any]) -> Dict[str, Any]:
        lanes, settings = self._inspector.lanes(), self._inspector.settings.lanes
        found: Dict[str, Any] = {}
        for name, lane in lanes.items():
            status = report["lanes"].get(name) or lane.status()
            books = report["accounting"].get(name, {})
            found[name] = {
                **status,
                "counts": {key: books[key] for key in _COUNTS if key in books},
            }
            if name in settings:
                found[name].setdefault("model", settings[name].model)
                found[name]["threshold"] = settings[name].threshold
        return found


def changes(document: Mapping[str, Any]) -> Dict[str, Any]:
    """What of a document is worth a message when it becomes another."""
    lanes = {
        name: {key: lane.get(key) for key in ("state", "camera", "model", "model_version", "threshold")}
        for name, lane in document["lanes"].items()
    }
    spool, configuration = document["spool"], document.get("configuration", {})
    return {
        "lanes": lanes,
        "outputs": {name: output["state"] == "broken" for name, output in document.get("outputs", {}).items()},
        "recorder": document.get("recorder"),
        "spool": {key: value for key, value in spool.items() if isinstance(value, str)},
        "configuration": (configuration.get("state"), configuration.get("problem")),
        "delivery": document.get("delivery", {}).get("state"),
    }


def fit(document: Dict[str, Any], most: int) -> Dict[str, Any]:
    """The document in at most so many bytes of JSON: lanes lose their details, the last ones first, then go.

    `lanes_short` and `lanes_omitted` count them. Where the outputs take more than a quarter, those
    that are well go first, and are counted by `outputs_omitted`.
    """
    size = len(encode(document))
    if size <= most:
        return document
    outputs = document.get("outputs", {})
    if len(encode(outputs)) > most // 4:
        told = _in_trouble(outputs, most // 4)
        document = {**document, "outputs": told, "outputs_omitted": len(outputs) - len(told)}
        return fit(document, most)
    lanes = dict(document["lanes"])
    short = omitted = 0
    for name in reversed(list(lanes)):
        if size <= most:
            break
        whole, lanes[name] = lanes[name], {"state": lanes[name]["state"]}
        short += 1
        size -= len(encode(whole)) - len(encode(lanes[name]))
    # The two counts themselves take room.
    most -= 48
    for name in reversed(list(lanes)):
        if size <= most:
            break
        size -= len(encode({name: lanes.pop(name)})) - 1  # its comma for two braces
        omitted += 1
    fitted = {**document, "lanes": lanes, "lanes_short": short - omitted}
    return {**fitted, "lanes_omitted": omitted} if omitted else fitted


def _in_trouble(outputs: Mapping[str, Any], most: int) -> Dict[str, Any]:
    """Those that are not well, as many as fit into so many bytes."""
    told: Dict[str, Any] = {}
    for name, output in outputs.items():
        if output["state"] not in OUTPUT_IS_WELL and len(encode({**told, name: output})) <= most:
            told[name] = output
    return told


def encode(document: Mapping[str, Any]) -> bytes:
    """As it is sent: ASCII JSON."""
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _outputs(report: Mapping[str, Any]) -> Dict[str, Any]:
    """State, and what was not done, of each."""
    return {
        name: {"state": output["state"], "dropped": output["counts"]["dropped"], "failed": output["counts"]["failed"]}
        for name, output in report.items()
    }


def _state(report: Mapping[str, Any]) -> Dict[str, Any]:
    return {key: report[key] for key in ("state", "trouble") if key in report}


def _versions() -> Dict[str, str]:
    versions = {"edge_agent": __version__, "python": platform.python_version()}
    for name, variable in (("nucleus", "GGC_VERSION"), ("component", "GREENGRASS_COMPONENT_VERSION")):
        if os.environ.get(variable):
            versions[name] = os.environ[variable]
    return versions
