"""`edge-agent models`: the models of a running Edge Agent, ours or AWS's."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Any, Callable, Dict, Iterator

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_agent.cli.agent_option import SOCKET_OPTION
from edge_agent.clock import SystemClock
from edge_agent.detector import EdgeAgentClient, ModelState, ensure_running, ensure_stopped
from edge_agent.errors import ModelNotRunningError

_DEADLINE_S = 10.0
_STATUS_STYLES = {"RUNNING": "green", "FAILED": "bold red", "STARTING": "yellow", "STOPPING": "yellow"}

_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")


def _timeout_option(what: str, seconds: float) -> Callable[[Any], Any]:
    return click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=seconds,
        show_default=True,
        metavar="SECONDS",
        help=f"How long {what} may take.",
    )


@click.group()
def models() -> None:
    """The models of a running Edge Agent."""


@models.command("list")
@SOCKET_OPTION
@_JSON_OPTION
def list_models(socket: str, as_json: bool) -> None:
    """Every deployed model and its state."""
    with _client(socket) as client:
        states = client.list_models()
    if as_json:
        _print_json({"models": [_as_dict(state) for state in states]})
        return
    table = Table(box=None, pad_edge=False)
    for title in ("model", "status", "message"):
        table.add_column(title, overflow="fold")
    for state in states:
        # Text, not markup: an agent's words may have square brackets.
        table.add_row(Text(state.component), _status(state), Text(state.message))
    Console().print(table if states else "no models are deployed")


@models.command()
@SOCKET_OPTION
@_JSON_OPTION
@click.argument("name")
def describe(socket: str, as_json: bool, name: str) -> None:
    """One model: state, message and ARN, and how it did on images that its training held out, where that is known."""
    with _client(socket) as client:
        _show(client.describe(name), as_json=as_json)


@models.command()
@SOCKET_OPTION
@_JSON_OPTION
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is RUNNING.")
@_timeout_option("the start", 180.0)
@click.argument("name")
def start(socket: str, as_json: bool, wait: bool, timeout: float, name: str) -> None:
    """Start a model, and wait until it is RUNNING. One that is RUNNING already is left so.

    Exit code 1 when it FAILED, with the reason that the Edge Agent gives, or was not RUNNING in time.
    """
    with _client(socket, min(timeout, _DEADLINE_S)) as client:
        if wait:
            state = ensure_running(
                client, name, timeout_s=timeout, clock=SystemClock(), stop=threading.Event(), start_again=False
            )
        else:
            state = _begin(client, name)
    _show(state, as_json=as_json)


@models.command()
@SOCKET_OPTION
@_JSON_OPTION
@_timeout_option("the calls in flight", 60.0)
@click.argument("name")
def stop(socket: str, as_json: bool, timeout: float, name: str) -> None:
    """Stop a model, after the calls in flight. One that is STOPPED already is left so."""
    with _client(socket, timeout) as client:
        state = ensure_stopped(client, name, timeout_s=timeout, clock=SystemClock())
    _show(state, as_json=as_json)


@contextlib.contextmanager
def _client(socket: str, deadline_s: float = _DEADLINE_S) -> Iterator[EdgeAgentClient]:
    client = EdgeAgentClient(socket, deadline_s=deadline_s)
    try:
        yield client
    finally:
        client.close()


def _begin(client: EdgeAgentClient, name: str) -> ModelState:
    try:
        client.start(name)
    except ModelNotRunningError:
        # On its way already, or there: as good as started.
        if client.describe(name).status not in ("STARTING", "RUNNING"):
            raise
    return client.describe(name)


def _show(state: ModelState, *, as_json: bool) -> None:
    if as_json:
        _print_json(_as_dict(state))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("model", Text(state.component))
    table.add_row("status", _status(state))
    if state.message:
        table.add_row("message", Text(state.message))
    if state.arn:
        table.add_row("ARN", Text(state.arn))
    for name, value in state.performance.as_dict().items() if state.performance else ():
        table.add_row(name, f"{value:g}")
    Console().print(table)


def _status(state: ModelState) -> Text:
    return Text(state.status, style=_STATUS_STYLES.get(state.status, ""))


def _as_dict(state: ModelState) -> Dict[str, Any]:
    """The contract's own names; the Performance by the service's, where there is one."""
    document: Dict[str, Any] = {
        "model_component": state.component,
        "lookout_vision_model_arn": state.arn,
        "status": state.status,
        "status_message": state.message,
    }
    if state.performance is not None:
        document["Performance"] = state.performance.as_dict()
    return document


def _print_json(document: Dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=1))
