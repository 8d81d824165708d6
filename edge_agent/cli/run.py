"""`edge-agent run`: the inspector."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import List, Optional, Sequence

import click

from edge_agent.agent import Inspector, read_settings
from edge_agent.allocator import keep_freed_memory
from edge_agent.cli.configuration import CONFIG_OPTION, read_configuration, thing_name
from edge_agent.cli.logs import log_options, report_error, set_up_logging
from edge_agent.cli.signals import on_signals
from edge_agent.clock import SystemClock
from edge_agent.greengrass.ipc import IpcClient

_log = logging.getLogger(__name__)


@click.command()
@CONFIG_OPTION
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
    thing = thing_name()
    data, subject = read_configuration(config_file)
    settings = read_settings(data, subject, thing=thing)
    if log_format is None:
        set_up_logging(log_level, settings.log_format)
    inspector = Inspector(
        settings, thing=thing, connect=IpcClient.connect, clock=SystemClock(), config_file=config_file
    )
    inspectors.append(inspector)
    _log.info("inspecting: %d lane(s), Edge Agent at %s", len(settings.lanes), settings.edge_agent_socket)
    well = inspector.run(stop)
    _print_reports(inspectors)
    if not well:
        report_error("some inspections were lost (`expired` in the accounting), or a part stopped; see the log")
        sys.exit(1)


def _print_reports(inspectors: Sequence[Inspector]) -> None:
    for inspector in inspectors:
        click.echo(json.dumps(inspector.report()))
