"""`edge-agent serve`: the model server."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Dict, Optional, Tuple

import click

from edge_agent.allocator import keep_freed_memory
from edge_agent.cli.logs import log_options, set_up_logging
from edge_agent.cli.signals import on_signals
from edge_agent.contract import AWS_SOCKET, OWN_SOCKET
from edge_agent.errors import ConfigError
from edge_agent.model import PROVIDERS, OnnxOptions, PublicKey
from edge_agent.server import InferenceUnits, ModelServer, ServerMetrics, parse_units
from edge_agent.web import Exposition, add_process_figures, read_token

_GRACE_S = 10.0


def _parse_providers(context: click.Context, parameter: click.Parameter, value: str) -> Tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    try:
        return OnnxOptions(names).providers
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _parse_units(
    context: click.Context, parameter: click.Parameter, values: Tuple[str, ...]
) -> Dict[str, InferenceUnits]:
    try:
        return dict(parse_units(value) for value in values)
    except ConfigError as error:
        raise click.BadParameter(str(error), context, parameter) from error


@click.command()
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    envvar="EDGE_AGENT_MODELS",
    show_envvar=True,
    help="Directory of packaged models: sub-directories and zips.",
)
@click.option(
    "--greengrass",
    type=click.Path(path_type=Path),
    envvar="EDGE_AGENT_GREENGRASS",
    show_envvar=True,
    help="Root of a Greengrass nucleus, such as /greengrass/v2, whose model components are served, too.",
)
@click.option(
    "--autostart",
    multiple=True,
    metavar="NAME",
    envvar="EDGE_AGENT_AUTOSTART",
    show_envvar=True,
    help="Model component to start unasked; may be given more than once. A manifest can also say so.",
)
@click.option(
    "--socket",
    "socket_path",
    default="",
    envvar="EDGE_AGENT_SOCKET",
    show_envvar=True,
    help=f"Unix socket to serve on.  [default: {OWN_SOCKET} and, unless another agent has it, {AWS_SOCKET}]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    envvar="EDGE_AGENT_THREADS",
    show_envvar=True,
    help="Threads for the inferences of all models together.  [default: the cores of this process]",
)
@click.option(
    "--units",
    multiple=True,
    metavar="NAME=MIN:MAX",
    envvar="EDGE_AGENT_UNITS",
    show_envvar=True,
    callback=_parse_units,
    help="Inference units of a model: engines kept, and allowed while calls wait; may be given more than once. "
    "A manifest can also say so.  [default: 1:1]",
)
@click.option(
    "--swap/--no-swap",
    default=True,
    envvar="EDGE_AGENT_SWAP",
    show_envvar=True,
    help="Replace a model that runs when its package is replaced, without a call lost.  [default: --swap]",
)
@click.option(
    "--providers",
    default="",
    metavar="NAME,...",
    envvar="EDGE_AGENT_PROVIDERS",
    show_envvar=True,
    callback=_parse_providers,
    help=f"What ONNX packages are tried on, in this order and on nothing else, out of {', '.join(PROVIDERS)}; or what is "
    "left out, as in no-tensorrt.  [default: all that the installed ONNX Runtime has, in that order]",
)
@click.option(
    "--tensorrt-cache",
    type=click.Path(path_type=Path),
    envvar="EDGE_AGENT_TENSORRT_CACHE",
    show_envvar=True,
    help="Directory where TensorRT keeps the engines it builds; only this user may write there.  [default: none kept]",
)
@click.option(
    "--trusted-key",
    type=click.Path(path_type=Path),
    envvar="EDGE_AGENT_TRUSTED_KEY",
    show_envvar=True,
    help="PEM of an Ed25519 public key: only packages signed with it are served.  [default: all are]",
)
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    envvar="EDGE_AGENT_METRICS",
    show_envvar=True,
    help="Serve /metrics for Prometheus, /health and /ready over HTTP here.  [default: nowhere]",
)
@click.option(
    "--metrics-token-file",
    type=click.Path(path_type=Path),
    envvar="EDGE_AGENT_METRICS_TOKEN_FILE",
    show_envvar=True,
    help="File with a token that each of these requests must bear; needed off loopback.",
)
@log_options
def serve(
    models: Optional[Path],
    greengrass: Optional[Path],
    autostart: Tuple[str, ...],
    socket_path: str,
    threads: Optional[int],
    providers: Tuple[str, ...],
    tensorrt_cache: Optional[Path],
    units: Dict[str, InferenceUnits],
    swap: bool,
    trusted_key: Optional[Path],
    metrics: Optional[str],
    metrics_token_file: Optional[Path],
    log_level: str,
    log_format: Optional[str],
) -> None:
    """Serve packaged models on the Edge Agent's socket.

    SIGTERM and SIGINT let the calls in flight finish, for up to ten seconds.
    """
    if models is None and greengrass is None:
        raise click.UsageError("Missing option '--models' or '--greengrass'.")
    set_up_logging(log_level, log_format)
    keep_freed_memory()
    stop = threading.Event()
    on_signals({signal.SIGTERM: stop.set, signal.SIGINT: stop.set})
    figures = ServerMetrics() if metrics else None
    server = ModelServer(
        models,
        socket_path or OWN_SOCKET,
        threads or len(os.sched_getaffinity(0)),
        second_socket="" if socket_path else AWS_SOCKET,
        greengrass=greengrass,
        autostart=autostart,
        onnx=OnnxOptions(providers, tensorrt_cache),
        units=units,
        swap=swap,
        observer=figures,
        trusted=None if trusted_key is None else PublicKey(trusted_key),
    )
    exposition = None if figures is None else _expose(figures, server, metrics or "", metrics_token_file)
    server.start()
    stop.wait()
    server.stop(_GRACE_S)
    if exposition is not None:
        exposition.close()
    # All is closed and removed. An ordinary exit would also take gRPC's own threads down, for which gRPC 1.70 was seen
    # to need ten seconds once in twenty times, and would wait for a model that is still loading.
    logging.shutdown()
    os._exit(0)


def _expose(figures: ServerMetrics, server: ModelServer, address: str, token_file: Optional[Path]) -> Exposition:
    figures.watch(server)
    add_process_figures(figures.registry)
    exposition = Exposition(
        address,
        figures.registry,
        health=server.why_not_healthy,
        ready=server.why_not_ready,
        token="" if token_file is None else read_token(token_file),
    )
    exposition.open()
    return exposition
