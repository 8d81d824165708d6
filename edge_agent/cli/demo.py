"""`edge-agent demo`: everything at once, with a live table of verdicts."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
from collections import deque
from pathlib import Path
from typing import Any, Deque, Dict, Iterator, List, Optional

import click
import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge_agent.demo import DemoLine, Verdict
from edge_agent.inspection import BACKGROUND

_ROWS = 12
# Chosen for the mix of its first parts: all kinds of defects come early.
_SEED = 7


@click.command()
@click.option("--frames", type=click.IntRange(1), default=100, show_default=True, help="Parts to make.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True, help="Parts a second."
)
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep images, recording, record and logs here."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=_SEED, show_default=True, help="Of the parts.")
@click.option("--plc", is_flag=True, help="Have a simulated PLC trigger each part, and sort it by its result.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
def demo(frames: int, rate: float, keep: Optional[Path], seed: int, plc: bool, as_json: bool) -> None:
    """Inspect rendered parts with the sample model: server, local nucleus and inspector, on this machine.

    Nothing leaves the machine; what would go to AWS IoT Core goes to a record file (see --keep).
    """
    # Like Ctrl-C: else the processes that it started would go on without it.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    console = Console(quiet=as_json)
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        directory = keep if keep is not None else Path(scratch)
        line = DemoLine(directory, Path(scratch), seed, plc=plc)
        verdicts: List[Verdict] = []
        try:
            if keep is not None:
                line.record()
            console.print("starting model server, local nucleus and inspector ...")
            line.start()
            console.print(f"live page, for as long as this runs: {line.page}", soft_wrap=True, highlight=False)
            with _screen(console) as show:
                for verdict in line.run(frames, rate):
                    verdicts.append(verdict)
                    show(verdict)
        finally:
            accounting = line.stop()
    summary = _summary(frames, verdicts, accounting)
    if plc:
        summary["plc"] = line.plc()
    if as_json:
        click.echo(json.dumps(summary))
        return
    _print_summary(console, summary, verdicts)
    if keep is not None:
        console.print(f"kept in {keep}: images/, recorded/, record.jsonl, inspector.json and the logs")


def _summary(frames: int, verdicts: List[Verdict], accounting: Dict[str, Any]) -> Dict[str, Any]:
    latencies = [verdict.latency_ms for verdict in verdicts]
    return {
        "frames": frames,
        "inspected": accounting["inspected"],
        "anomalous": sum(bool(verdict.message["is_anomalous"]) for verdict in verdicts),
        "agreement": round(sum(verdict.agrees for verdict in verdicts) / len(verdicts), 4),
        "published": len(verdicts),
        "latency_ms": {f"p{p}": round(float(np.percentile(latencies, p)), 2) for p in (50, 99)},
        "accounting": accounting,
    }


@contextlib.contextmanager
def _screen(console: Console) -> Iterator[Any]:
    """A function that shows one more verdict: in a table that stays in place on a terminal, line by line elsewhere."""
    rows: Deque[Verdict] = deque(maxlen=_ROWS)
    if not console.is_terminal:
        yield lambda verdict: console.print(_line(verdict), soft_wrap=True)
        return
    with Live(console=console, refresh_per_second=10) as live:

        def show(verdict: Verdict) -> None:
            rows.append(verdict)
            live.update(_table(rows))

        yield show


def _classes(verdict: Verdict) -> str:
    found = [a for a in verdict.message["anomalies"] if a["name"] != BACKGROUND]
    return ", ".join(f"{a['name']} {a['area']:.2%}" for a in found) or "-"


def _line(verdict: Verdict) -> str:
    message = verdict.message
    word = "anomalous" if message["is_anomalous"] else "normal"
    truth = "" if verdict.agrees else "  (wrong)"
    return (
        f"{message['image']['source']}  {word:9}  {message['confidence']:.3f}  {verdict.latency_ms:6.1f} ms"
        f"  {_classes(verdict)}{truth}"
    )


def _table(rows: Deque[Verdict]) -> Group:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("part", "verdict", "confidence", "latency", "classes by area", "truth"):
        table.add_column(title, justify="right" if title in ("confidence", "latency") else "left")
    for verdict in rows:
        message = verdict.message
        word = Text("anomalous", "bold red") if message["is_anomalous"] else Text("normal", "green")
        classes = Text("-" if _classes(verdict) == "-" else "")
        for anomaly in message["anomalies"]:
            if anomaly["name"] != BACKGROUND:
                classes.append("\u25a0 ", anomaly["hex_color"])
                classes.append(f"{anomaly['name']} {anomaly['area']:.2%}  ")
        truth = Text("agrees", "dim") if verdict.agrees else Text("differs", "bold yellow")
        table.add_row(
            message["image"]["source"],
            word,
            f"{message['confidence']:.3f}",
            f"{verdict.latency_ms:.1f} ms",
            classes,
            truth,
        )
    return Group(table, Text(f"{rows[-1].message['sequence']} inspected", "dim"))


def _print_summary(console: Console, summary: Dict[str, Any], verdicts: List[Verdict]) -> None:
    truly = sum(verdict.truth for verdict in verdicts)
    found = sum(verdict.truth and bool(verdict.message["is_anomalous"]) for verdict in verdicts)
    books = summary["accounting"]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("frames", str(summary["frames"]))
    table.add_row("anomalous parts found", f"{found} of {truly}; agreement with the truth {summary['agreement']:.1%}")
    table.add_row("published", str(summary["published"]))
    table.add_row(
        "capture to nucleus", f"p50 {summary['latency_ms']['p50']:.1f} ms, p99 {summary['latency_ms']['p99']:.1f} ms"
    )
    table.add_row(
        "accounting",
        f"captured {books['captured']} = inspected {books['inspected']} + dropped {sum(books['dropped'].values())}"
        f" + failed {sum(books['failed'].values())}; inspected = delivered {books['delivered']}"
        f" + expired {sum(books['expired'].values())}",
    )
    if "plc" in summary:
        line = summary["plc"]
        table.add_row(
            "PLC",
            f"parts {line['parts']} = good {line['good']} + rejected {line['rejected']} + undecided {line['undecided']}"
            f" + missed {line['missed'] + line['passed']} + without result {line['without_result'] + line['awaited']}",
        )
    console.print()
    console.print(table)
