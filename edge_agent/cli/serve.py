"""`edge-agent serve`: the model server."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Optional

import click

from edge_agent.cli.logs import LOG_LEVEL_OPTION, set_up_logging
from edge_agent.cli.signals import on_signals

_DEFAULT_SOCKET = "/tmp/aws.iot.lookoutvision.EdgeAgent.sock"  # noqa: S108 - the contract's path
_GRACE_S = 10.0


@click.command()
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    required=True,
    envvar="EDGE_AGENT_MODELS",
    show_envvar=True,
    help="Directory of packaged models: sub-directories and zips.",
)
@click.option(
    "--socket",
    "socket_path",
    default=_DEFAULT_SOCKET,
    show_default=True,
    envvar="EDGE_AGENT_SOCKET",
    show_envvar=True,
    help="Unix socket to serve on; `unix:` in front of it is accepted.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    envvar="EDGE_AGENT_THREADS",
    show_envvar=True,
    help="Threads of one inference.  [default: the cores of this process]",
)
@LOG_LEVEL_OPTION
def serve(models: Path, socket_path: str, threads: Optional[int], log_level: str) -> None:
    """Serve packaged models on the Edge Agent's socket.

    SIGTERM and SIGINT let the calls in flight finish, for up to ten seconds.
    """
    set_up_logging(log_level)
    stop = threading.Event()
    on_signals({signal.SIGTERM: stop.set, signal.SIGINT: stop.set})
    # After the signals are set up: gRPC starts threads when it is imported.
    from edge_agent.server import ModelServer

    server = ModelServer(models, socket_path, threads or len(os.sched_getaffinity(0)))
    server.start()
    stop.wait()
    server.stop(_GRACE_S)
    # All is closed and removed. An ordinary exit would also take gRPC's own threads down, for which gRPC 1.70 was seen
    # to need ten seconds once in twenty times, and would wait for a model that is still loading.
    logging.shutdown()
    os._exit(0)
