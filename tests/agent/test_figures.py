"""The inspector's figures against what its pages say of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

from edge_agent.agent.figures import reading
from edge_agent.agent.figures.catalogue import CATALOGUE
from edge_agent.figures import Histogram
from edge_agent.inspection import Anomaly, Inspection, Timings
from edge_agent.lane.observations import BOUNDS, MAX_CLASSES, OTHER, STAGES, LaneObservations

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "inspector-figures.md").read_text()
PREFIX = "edge_agent_inspector_"


def _words(text: str) -> List[str]:
    return re.findall(r"`(\w+)`", text)


def _rows(page: str, *starts: str) -> Iterator[List[str]]:
    """The cells of the rows of a page's tables whose first cell is one of these words."""
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0].strip("`") in starts:
            yield cells


def test_the_page_names_every_figure_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \| (\w+) \| ([^|]*)\|", PAGE, re.MULTILINE)
    documented = {(PREFIX + name, kind, unit, tuple(_words(labels))) for name, kind, unit, labels in rows}
    assert documented == {(d.name, d.kind, d.unit, d.labels) for d in CATALOGUE.values()}


def test_units_are_in_the_names() -> None:
    for definition in CATALOGUE.values():
        for unit in ("seconds", "bytes"):
            assert definition.name.endswith(f"_{unit}") == (definition.unit == unit), definition.name


def _causes(page: str, counter: str) -> Set[str]:
    """By the second cell of each row whose first one is the counter."""
    return {cause for cells in _rows(page, counter) for cause in _words(cells[1])}


def test_every_documented_cause_is_there_from_the_start() -> None:
    assert set(reading.DROPPED) == _causes("architecture.md", "dropped")
    assert set(reading.FAILED) == _causes("architecture.md", "failed")
    assert set(reading.EXPIRED) == _causes("architecture.md", "expired")
    assert set(reading.OUTPUT_DROPPED) == _causes("outputs.md", "dropped")
    assert set(reading.OUTPUT_FAILED) == _causes("outputs.md", "failed")
    for page, section, known in (
        ("triggers.md", "## What happens to a trigger", reading.MISSED),
        ("outputs.md", "| `undecided` in messages | the part |", reading.OUTPUT_UNDECIDED),
        ("operations.md", "| `delivery.state` | |", reading.DELIVERY_STATES),
    ):
        text = (DOCS / page).read_text().split(section)[1].strip()
        table = next(part for part in text.split("\n\n") if "\n| `" in part)
        assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(known), page


def test_the_page_names_the_buckets_and_the_stages() -> None:
    text = PAGE.split("Buckets of the histogram: ")[1].split(" s. With")[0]
    milliseconds, seconds = (re.findall(r"[0-9.]+", part) for part in text.split("ms;"))
    assert [float(value) / 1e3 for value in milliseconds] + [float(value) for value in seconds] == list(BOUNDS)
    row = next(line for line in PAGE.splitlines() if line.startswith("| `stage_seconds`"))
    assert _words(row)[3:] == list(STAGES)


def test_a_histogram_puts_each_value_into_one_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.5, 100.0):
        histogram.observe(value)
    assert histogram.read() == ((1.0, 2.0), (2, 1, 2), 105.5)
    assert histogram.read().total == 5


def _inspection(*classes: str) -> Inspection:
    anomalies = tuple(Anomaly(name, 0.1, "#000000") for name in ("background", *classes))
    return Inspection(
        "0" * 32, "1" * 32, "t", "a", 1, 0, "m", None, bool(classes), 0.9, anomalies, Timings(1, 2, 3, 6), 64, 64, "s"
    )


def test_a_flood_of_class_names_becomes_one_series() -> None:
    observations = LaneObservations()
    for number in range(MAX_CLASSES + 5):
        observations.note(_inspection(f"class-{number}"))
    observations.note(_inspection())
    observed = observations.read()
    assert len(observed.classes) == MAX_CLASSES + 1
    assert (observed.classes["class-0"], observed.classes[OTHER]) == (1, 5)
    assert observed.verdicts == {"normal": 1, "anomalous": MAX_CLASSES + 5}
    assert observed.stages["wait"].total == MAX_CLASSES + 6
    assert abs(observed.stages["wait"].sum - 0.002 * (MAX_CLASSES + 6)) < 1e-9


DASHBOARD: Dict[str, Any] = json.loads((DOCS / "grafana-inspector.json").read_text())
#: Of prometheus_client's process figures and our own.
OTHERS = {"edge_agent_process_pss_bytes": ("process",)}


def _expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]


def _exported() -> Dict[str, Tuple[str, ...]]:
    """Labels by the name that Prometheus has."""
    found = dict(OTHERS)
    for definition in CATALOGUE.values():
        name, labels = definition.name, definition.labels
        if definition.kind == "histogram":
            found.update({f"{name}_bucket": (*labels, "le"), f"{name}_sum": labels, f"{name}_count": labels})
        else:
            found[f"{name}_total" if definition.kind == "counter" else name] = labels
    return found


def test_the_dashboard_asks_for_what_there_is() -> None:
    exported = _exported()
    asked = set()
    for expression in _expressions():
        for name, matchers in re.findall(r"(edge_agent_\w+)(\{[^}]*\})?", expression):
            asked.add(name)
            assert name in exported, expression
            labels = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", matchers)) - {"instance"}
            assert labels <= set(exported[name]), expression
    # What was lost is on it, whatever it is.
    losses = {name for name in exported if re.search(r"(dropped|failed|missed|expired|late)_total$", name)}
    assert losses <= asked


def test_the_dashboard_is_laid_out() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: Set[Tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
