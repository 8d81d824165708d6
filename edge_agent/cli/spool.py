"""`edge-agent spool`: what waits on disk for delivery."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import click

from edge_agent.agent import InspectorSettings, read_settings
from edge_agent.cli.configuration import CONFIG_OPTION, read_configuration, thing_name
from edge_agent.cli.logs import log_options, set_up_logging
from edge_agent.cli.signals import on_signals
from edge_agent.clock import SystemClock
from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.publisher import Publisher
from edge_agent.spool import Look, Spool, spool_directory

_LOOK_S = 0.1
_CLOSE_S = 5.0

_PATH_OPTION = click.option(
    "--path",
    type=click.Path(path_type=Path),
    help="The spool's directory. Without it: as the configuration says.",
)


@click.group()
def spool() -> None:
    """Look at, export or deliver the inspections that wait on disk."""


@spool.command()
@_PATH_OPTION
@CONFIG_OPTION
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(path: Optional[Path], config_file: Optional[Path], as_json: bool) -> None:
    """Say what waits. Changes nothing, also while an inspector runs."""
    with contextlib.closing(_look(path, config_file)) as look:
        found = look.status()
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"{found['directory']}: {'in use' if found['in_use'] else 'not in use'}")
    click.echo(f"waiting: {found['inspections']} inspections, {found['bytes']} bytes of files{_since(found)}")
    for lane, book in found["lanes"].items():
        expired = ", ".join(f"{count} {cause}" for cause, count in book["expired"].items()) or "0"
        click.echo(
            f"{lane}: inspected {book['inspected']} = delivered {book['delivered']} + waiting {book['spooled']}"
            f" + expired {expired}"
        )
    if found["damage"]:
        click.echo(f"damaged: {found['damage']}. The next start of an inspector recovers what is counted as waiting.")
    for aside in found["set_aside"]:
        click.echo(f"set aside: {aside}")


@spool.command()
@_PATH_OPTION
@CONFIG_OPTION
def export(path: Optional[Path], config_file: Optional[Path]) -> None:
    """Print what waits, one JSON object a line, oldest first. Changes nothing; reads damaged files, too."""
    with contextlib.closing(_look(path, config_file)) as look:
        for record in look.records():
            sys.stdout.buffer.write(record.body + b"\n")
        if look.damage is not None:
            click.echo(f"damaged: {look.damage}", err=True)


@spool.command()
@_PATH_OPTION
@CONFIG_OPTION
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Give up when nothing was delivered for so many seconds.",
)
@log_options
def drain(
    path: Optional[Path], config_file: Optional[Path], patience: float, log_level: str, log_format: Optional[str]
) -> None:
    """Publish what waits through the nucleus, and end. The inspector must not be running."""
    set_up_logging(log_level, log_format)
    stop = threading.Event()
    on_signals({signal.SIGTERM: stop.set, signal.SIGINT: stop.set})
    settings = _settings(config_file)
    clock = SystemClock()
    work = Spool(path or spool_directory(settings.spool, config_file), settings.spool, clock)
    work.start()
    trouble = work.trouble()
    if trouble is not None:
        work.close(_CLOSE_S)
        raise trouble
    publisher = Publisher(work, IpcClient.connect, settings.publish, clock)
    publisher.start()
    left = _wait(lambda: _waiting(work), stop, patience)
    publisher.close(_CLOSE_S)
    work.close(_CLOSE_S)
    delivered = sum(accounting.snapshot().delivered for accounting in work.accountings().values())
    click.echo(f"delivered {delivered} inspections, {left} wait")
    if left or publisher.faulty():
        sys.exit(1)


def _wait(left: Callable[[], int], stop: threading.Event, patience: float) -> int:
    """Until nothing is left, or less has not become of it for so long; gives what is."""
    clock = SystemClock()
    least, since_ns = left(), clock.monotonic_ns()
    while least and not clock.wait(stop, _LOOK_S):
        now = left()
        if now < least:
            least, since_ns = now, clock.monotonic_ns()
        elif (clock.monotonic_ns() - since_ns) / 1e9 > patience:
            break
    return least


def _waiting(work: Spool) -> int:
    return sum(accounting.snapshot().spooled for accounting in work.accountings().values())


def _look(path: Optional[Path], config_file: Optional[Path]) -> Look:
    if path is None:
        path = spool_directory(_settings(config_file).spool, config_file)
    return Look(path)


def _settings(config_file: Optional[Path]) -> InspectorSettings:
    data, subject = read_configuration(config_file)
    return read_settings(data, subject, thing=thing_name())


def _since(found: Dict[str, Any]) -> str:
    if found["oldest_at_ns"] is None:
        return ""
    moment = dt.datetime.fromtimestamp(found["oldest_at_ns"] // 1_000_000_000, tz=dt.timezone.utc)
    return f", the oldest since {moment:%Y-%m-%dT%H:%M:%SZ}"
