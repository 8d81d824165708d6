"""`edge-agent evaluate`: a package, or a model behind an Edge Agent, held against labelled images."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from edge_agent.backoff import Backoff
from edge_agent.cli.agent_option import SOCKET_OPTION
from edge_agent.cli.manifest_options import manifest_options
from edge_agent.clock import SystemClock
from edge_agent.detector import Detection, EdgeAgentClient, ModelSession
from edge_agent.errors import ServerBusyError, TrainingError
from edge_agent.frame import Pixels
from edge_agent.model import Manifest, load_model, open_package
from edge_agent.shared_memory import Ring
from edge_agent.training.evaluation import Answer, Evaluation, Judge, evaluate, judge_of
from edge_agent.training.ground_truth import Example, LabelledSet, manifest_digest, read_ground_truth
from edge_agent.training.locations import Locations, Mapping

_DEADLINE_S = 30.0
_BUSY_TRIES = 8


@click.command(name="evaluate")
@click.option("--model", required=True, help="A package (directory or zip); with --agent, a model component's name.")
@manifest_options
@click.option("--agent", is_flag=True, help="Ask the Edge Agent at --socket.  [default: run the package here]")
@SOCKET_OPTION
@click.option("--held-out", is_flag=True, help="Only the images that the package's training held out.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of a package run here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def evaluate_command(
    context: click.Context,
    model: str,
    manifest: Path,
    mapped: Sequence[Mapping],
    s3_cache: Path,
    agent: bool,
    socket: str,
    held_out: bool,
    threads: int,
    as_json: bool,
) -> None:
    """Hold a model's verdicts and masks against the labels of a manifest.

    Prints F1Score, Recall and Precision as the service's DescribeModel had them, the confusion of images, and of masks
    by class. A socket on the command line means --agent, too.
    """
    agent = agent or context.get_parameter_source("socket") is ParameterSource.COMMANDLINE
    if agent and held_out:
        raise click.UsageError("--held-out reads a package; an Edge Agent does not say what its model was trained on.")
    labelled = read_ground_truth(manifest, Locations(manifest.parent, mapped, s3_cache))
    if agent:
        with _agent_judge(socket, model) as judge:
            result = _evaluated(labelled.examples, labelled, judge)
        trained_on = 0
    else:
        with open_package(model) as package:
            loaded = load_model(package, threads=threads)
        try:
            trained_on = _trained_on(loaded.manifest, labelled)
            examples = _held_out(model, loaded.manifest, labelled) if held_out else labelled.examples
            result = _evaluated(examples, labelled, judge_of(loaded))
        finally:
            loaded.close()
        trained_on = 0 if held_out else trained_on
    if trained_on:
        click.echo(
            f"warning: the model learned from {trained_on} of these {len(result.judged)} images; "
            "--held-out leaves them out",
            err=True,
        )
    if as_json:
        click.echo(json.dumps({"model": model, "manifest": str(manifest), **result.as_dict()}, indent=1))
    else:
        _print(result)


def _evaluated(examples: Sequence[Example], labelled: LabelledSet, judge: Judge) -> Evaluation:
    console = Console(stderr=True)
    if not console.is_terminal:
        return evaluate(examples, labelled.classes, judge)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("evaluating", total=len(examples))
        return evaluate(examples, labelled.classes, judge, lambda done: bar.update(task, completed=done))


def _trained_on(manifest: Manifest, labelled: LabelledSet) -> int:
    """How many of these images a package was trained on, where it knows this very manifest; else 0."""
    training = manifest.training
    if training.get("manifest_sha256") != manifest_digest(labelled.manifest):
        return 0
    return len(labelled.examples) - len(training.get("held_out_images", ()))


def _held_out(model: str, manifest: Manifest, labelled: LabelledSet) -> List[Example]:
    """The images that the training of a package held out, by the names that it lists."""
    names = manifest.training.get("held_out_images")
    if not isinstance(names, list) or not names:
        raise TrainingError(model, "does not say which images its training held out", "Leave --held-out out.")
    found = [example for example in labelled.examples if example.image.name in names]
    if sorted(example.image.name for example in found) != sorted(names):
        raise TrainingError(
            str(labelled.manifest),
            f"has {len(found)} images of the {len(names)} names that {model} held out",
            "Name the manifest that it was trained on.",
        )
    return found


@contextlib.contextmanager
def _agent_judge(socket: str, model: str) -> Iterator[Judge]:
    """A model behind an Edge Agent; started where it does not run."""
    client = EdgeAgentClient(socket, deadline_s=_DEADLINE_S)
    session = ModelSession(client, model, SystemClock())
    ring = Ring(1)
    try:
        session.ensure_running(threading.Event())
        yield lambda image: _ask(session, ring, image)
    finally:
        session.close()
        ring.close()
        client.close()


def _ask(session: ModelSession, ring: Ring, image: Pixels) -> Answer:
    slot = ring.acquire()
    assert slot is not None  # noqa: S101 - one thread, one slot, given back below
    try:
        pixels = slot.reserve(image.shape[0], image.shape[1])
        pixels[...] = image
        found = _patiently(lambda: session.detect(pixels, slot.placement(pixels.nbytes)))
        return Answer(found.is_anomalous, found.confidence, None, found.anomalies, session.mask_pixels(found))
    finally:
        slot.release()


def _patiently(detect: Any) -> Detection:
    """An agent that also serves a line may be busy for a moment."""
    backoff = Backoff(first=0.05, cap=1.0)
    for _ in range(_BUSY_TRIES):
        try:
            found: Detection = detect()
        except ServerBusyError:
            SystemClock().sleep(backoff.next())
        else:
            return found
    last: Detection = detect()
    return last


def _print(result: Evaluation) -> None:
    console = Console()
    numbers = Table(box=None, pad_edge=False, show_header=False)
    numbers.add_column(style="dim")
    numbers.add_column(justify="right")
    for name, value in {**result.performance.as_dict(), "accuracy": result.accuracy}.items():
        numbers.add_row(name, f"{value:.4f}")
    console.print(numbers)
    confusion = result.confusion()
    rows = [(label, list(confusion[label].values())) for label in confusion]
    console.print(f"\n{len(result.judged)} images: label, and verdict")
    console.print(_counts(list(confusion["normal"]), rows))
    if result.masks:
        _print_masks(console, result)
    for judged in result.mistakes:
        verdict = "anomalous" if judged.is_anomalous else "normal"
        text = f"called {verdict} (confidence {judged.confidence:.3f}): {judged.example.image}"
        console.print(text, soft_wrap=True, highlight=False, markup=False)


def _print_masks(console: Console, result: Evaluation) -> None:
    ious: Dict[str, Optional[float]] = result.pixels.by_class()
    console.print(f"\n{result.masks} masks: intersection over union")
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for name, value in {**ious, "(any class)": result.pixels.of_any_class()}.items():
        table.add_row(Text(name), "-" if value is None else f"{value:.4f}")
    console.print(table)
    names = result.pixels.classes
    rows = list(zip(names, result.pixels.counts.tolist()))
    console.print("\npixels: label, and found")
    console.print(_counts(names, rows))


def _counts(columns: Sequence[str], rows: Sequence[Tuple[str, List[int]]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in columns:
        table.add_column(Text(name), justify="right")
    for name, values in rows:
        table.add_row(Text(name), *map(str, values))
    return table
