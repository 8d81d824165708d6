"""`edge-agent run`: the inspector."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import click

from edge_agent.agent import Inspector, read_settings
from edge_agent.allocator import keep_freed_memory
from edge_agent.cli.logs import log_options, report_error, set_up_logging
from edge_agent.cli.signals import on_signals
from edge_agent.clock import SystemClock
from edge_agent.config import read_file
from edge_agent.greengrass.ipc import IpcClient

_log = logging.getLogger(__name__)


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="YAML or JSON. Without it: the component's configuration, from the nucleus.",
)
@log_options
def run(config_file: Optional[Path], log_level: str, log_format: Optional[str]) -> None:
    """Inspect camera frames and publish every verdict to AWS IoT Core.

    Ends when every camera is at its end, or on SIGTERM. SIGUSR1 prints the accounting, which is also the last line.
    """
    set_up_logging(log_level, log_format)
    keep_freed_memory()
    stop = threading.Event()
    inspectors: List[Inspector] = []
    # First of all: a SIGTERM that comes during a slow start ends it in order, too.
    on_signals(
        {
            signal.SIGTERM: stop.set,
            signal.SIGINT: stop.set,
            signal.SIGUSR1: lambda: _print_reports(inspectors),
        }
    )
    thing = os.environ.get("AWS_IOT_THING_NAME") or socket.gethostname()
    data, subject = _configuration(config_file)
    settings = read_settings(data, subject, thing=thing)
    if log_format is None:
        set_up_logging(log_level, settings.log_format)
    inspector = Inspector(settings, thing=thing, connect=IpcClient.connect, clock=SystemClock())
    inspectors.append(inspector)
    _log.info("inspecting: %d lane(s), Edge Agent at %s", len(settings.lanes), settings.edge_agent_socket)
    well = inspector.run(stop)
    _print_reports(inspectors)
    if not well:
        words = "some inspections were not delivered (`expired` in the accounting), or a lane stopped; see the log"
        report_error(words)
        sys.exit(1)


def _print_reports(inspectors: Sequence[Inspector]) -> None:
    for inspector in inspectors:
        click.echo(json.dumps(inspector.report()))


def _configuration(config_file: Optional[Path]) -> Tuple[Mapping[str, Any], str]:
    if config_file is not None:
        return read_file(config_file), str(config_file)
    client = IpcClient.connect()
    try:
        return client.get_configuration(), "component configuration"
    finally:
        client.close()
