"""`edge-agent train`: from a Ground Truth manifest to a packaged model."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from typing import Any, Callable, Dict, Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edge_agent.cli.options import size
from edge_agent.training import TrainingResult, TrainingSettings
from edge_agent.training import train as run_training

_LINES = 10  # of progress where nobody watches


@click.command()
@click.option(
    "--manifest", required=True, type=click.Path(path_type=pathlib.Path), help="SageMaker Ground Truth manifest."
)
@click.option("--out", required=True, type=click.Path(path_type=pathlib.Path), help="Model store to write into.")
@click.option("--name", required=True, help="Name of the package, as a model component.")
@click.option("--version", default="1.0.0", show_default=True, help="Version of the package.")
@click.option("--epochs", type=int, help="Passes over the training images.  [default: by their number]")
@click.option("--seed", default=0, show_default=True, help="Seed of split, weights and augmentation.")
@click.option("--holdout", default=0.2, show_default=True, help="Share of the images to hold out.")
@click.option(
    "--size", metavar="WxH", callback=size, help="Input of the network, multiples of 16.  [default: by the images]"
)
@click.option("--threads", type=int, default=lambda: os.cpu_count() or 1, help="Threads.  [default: all cores]")
@click.option("--force", is_flag=True, help="Replace a package of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def train(as_json: bool, **options: Any) -> None:
    """Train a model on labelled images, as Lookout for Vision had them, and write it as a package.

    DIR/NAME is then a package in the model store DIR: edge-agent serve --models DIR.
    """
    settings = TrainingSettings(**options)
    with _progress() as report:
        result = run_training(settings, report)
    if as_json:
        click.echo(json.dumps(_document(settings, result)))
    else:
        _print(result)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Any], None]]:
    """A moving bar on a terminal, a line now and then elsewhere; both on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _tell_lines
        return
    columns = (TextColumn("training"), BarColumn(), TextColumn("loss {task.fields[loss]:.3f}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"))
        yield lambda at: bar.update(task, total=at.epochs, completed=at.epoch, loss=at.loss)


def _tell_lines(at: Any) -> None:
    if at.epoch % max(1, at.epochs // _LINES) == 0 or at.epoch == at.epochs:
        click.echo(f"epoch {at.epoch}/{at.epochs}, loss {at.loss:.3f}, {at.seconds:.0f} s", err=True)


def _document(settings: TrainingSettings, result: TrainingResult) -> Dict[str, Any]:
    return {
        "package": str(result.package),
        "name": settings.name,
        "version": settings.version,
        "performance": result.performance,
        "training": result.training,
    }


def _print(result: TrainingResult) -> None:
    table = Table(title=str(result.package), title_justify="left")
    table.add_column("")
    for name in ("held out", "training"):
        table.add_column(name, justify="right")
    columns = [result.performance["held_out"], result.performance["training"]]
    rows = [(name, [column[name] for column in columns]) for name in columns[0] if name != "mask_iou"]
    rows += [(f"mask IoU, {name}", [column["mask_iou"][name] for column in columns]) for name in columns[0]["mask_iou"]]
    for name, values in rows:
        table.add_row(name.replace("_", " "), *("-" if value is None else f"{value:g}" for value in values))
    console = Console()
    console.print(table)
    seconds = result.training["wall_seconds"]
    console.print(f"threshold {result.performance['threshold']:g}, chosen on the held-out images; {seconds:.0f} s")
