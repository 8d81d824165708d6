"""`edge-agent run`: the inspector."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Optional

import click

from edge_agent.agent import InspectorSettings, Operation
from edge_agent.allocator import keep_freed_memory
from edge_agent.cli.configuration import CONFIG_OPTION, thing_name
from edge_agent.cli.logs import log_options, report_error, set_up_logging
from edge_agent.cli.signals import on_signals
from edge_agent.clock import SystemClock


@click.command()
@CONFIG_OPTION
@log_options
def run(config_file: Optional[Path], log_level: str, log_format: Optional[str]) -> None:
    """Inspect camera frames and publish every verdict to AWS IoT Core.

    Ends when every camera is at its end, or on SIGTERM. SIGUSR1 prints the accounting, which is also the last line;
    SIGHUP reads the configuration again.
    """
    set_up_logging(log_level, log_format)
    keep_freed_memory()
    stop = threading.Event()

    def settled(settings: InspectorSettings) -> None:
        if log_format is None:
            set_up_logging(log_level, settings.log_format)

    operation = Operation(config_file, thing=thing_name(), clock=SystemClock(), stop=stop, settled=settled)
    # First of all: a SIGTERM that comes during a slow start ends it in order, too.
    on_signals(
        {
            signal.SIGTERM: stop.set,
            signal.SIGINT: stop.set,
            signal.SIGHUP: operation.read_again,
            signal.SIGUSR1: lambda: _print_report(operation),
        }
    )
    well = operation.run()
    _print_report(operation)
    if not well:
        report_error("some inspections were lost (`expired` in the accounting), or a part stopped; see the log")
        sys.exit(1)


def _print_report(operation: Operation) -> None:
    report = operation.report()
    if report is not None:
        click.echo(json.dumps(report))
