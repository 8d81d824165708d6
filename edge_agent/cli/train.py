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

from edge_agent.cli.manifest_options import manifest_options
from edge_agent.cli.options import size
from edge_agent.training import TrainingResult, TrainingSettings
from edge_agent.training import train as run_training
from edge_agent.training.settings import DEVICES

_LINES = 10  # of progress where nobody watches


@click.command()
@manifest_options
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
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="auto: CUDA where it is.")
@click.option("--resume/--no-resume", default=True, help="Go on with a training that was cut short.  [default: resume]")
@click.option("--report", type=click.Path(path_type=pathlib.Path), metavar="FILE", help="[default: DIR/NAME.html]")
@click.option("--force", is_flag=True, help="Replace a package of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def train(as_json: bool, **options: Any) -> None:
    """Train a model on labelled images, as Lookout for Vision had them, and write it as a package.

    DIR/NAME is then a package in the model store DIR: edge-agent serve --models DIR. The same command again goes on
    with a training that was cut short.
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

        def tell(at: Any) -> None:
            _tell_resumed(at)
            bar.update(task, total=at.epochs, completed=at.epoch, loss=at.loss)

        yield tell


def _tell_resumed(at: Any) -> None:
    if at.resumed and at.epoch == at.resumed + 1:
        click.echo(f"goes on after epoch {at.resumed}, where it was cut short", err=True)


def _tell_lines(at: Any) -> None:
    _tell_resumed(at)
    if at.epoch % max(1, at.epochs // _LINES) == 0 or at.epoch == at.epochs:
        click.echo(f"epoch {at.epoch}/{at.epochs}, loss {at.loss:.3f}, {at.seconds:.0f} s", err=True)


def _document(settings: TrainingSettings, result: TrainingResult) -> Dict[str, Any]:
    return {
        "package": str(result.package),
        "report": str(result.report),
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
    console.print(f"report {result.report}", soft_wrap=True, highlight=False, markup=False)
