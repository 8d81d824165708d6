"""`edge-agent packaging`: the service's packaging jobs, done here."""

from __future__ import annotations

import datetime as dt
import json
import signal
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import click

from edge_agent.cli.logs import log_options, set_up_logging
from edge_agent.cli.signals import on_signals
from edge_agent.errors import EdgeAgentError, PackagingError
from edge_agent.packaging.jobs.aws import AwsService
from edge_agent.packaging.jobs.component import AGENTS
from edge_agent.packaging.jobs.credentials import credentials_file, load_key_pair
from edge_agent.packaging.jobs.forms import Members
from edge_agent.packaging.jobs.http import PackagingServer
from edge_agent.packaging.jobs.job import FAILED, Settings
from edge_agent.packaging.jobs.options import build_request
from edge_agent.packaging.jobs.places import default_registry, default_state
from edge_agent.packaging.jobs.request import DESCRIBE, LIST, START
from edge_agent.packaging.jobs.service import PackagingService
from edge_agent.packaging.jobs.state import PackagingState
from edge_agent.packaging.optimize.wanted import CHOICES, FP32

_Command = Callable[..., Any]
_Option = Callable[[_Command], _Command]
_PORT = 8790


def _state_options(command: _Command) -> _Command:
    """Where things are."""
    path = click.Path(path_type=Path)
    return _with(
        command,
        click.option("--state", type=path, envvar="EDGE_AGENT_PACKAGING_STATE", show_envvar=True, help="Of the jobs."),
        click.option("--registry", type=path, envvar="EDGE_AGENT_REGISTRY", show_envvar=True, help="Of the models."),
        click.option(
            "--buckets",
            default="s3",
            show_default=True,
            envvar="EDGE_AGENT_BUCKETS",
            show_envvar=True,
            help="Where buckets are: s3, or file:///DIRECTORY whose sub-directories they are.",
        ),
    )


def _job_options(command: _Command) -> _Command:
    """What new jobs do beside what their requests say."""
    return _with(
        command,
        click.option(
            "--agent",
            type=click.Choice(list(AGENTS)),
            default="open",
            show_default=True,
            help="Whose Edge Agent components depend on: our model server, AWS's, none.",
        ),
        click.option(
            "--optimize",
            type=click.Choice(CHOICES),
            default=FP32,
            show_default=True,
            help="What an ONNX network computes in; none leaves it as it is.",
        ),
        click.option(
            "--sign-with",
            metavar="FILE",
            envvar="EDGE_AGENT_SIGNING_KEY",
            show_envvar=True,
            help="PEM of an Ed25519 private key.  [default: unsigned]",
        ),
        click.option(
            "--register", is_flag=True, help="Register components with AWS IoT Greengrass; with --buckets s3."
        ),
    )


def _with(command: _Command, *options: _Option) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


_ENGINE = click.option("--engine", type=click.Choice(["local", "aws"]), default="local", show_default=True)
_CLI_INPUT = click.option("--cli-input-json", metavar="JSON", help="The whole request, or file://PATH of it.")
_PROJECT = click.option("--project-name")
_JOB = click.option("--job-name")


def _skeleton_option(form: Members) -> Callable[[_Command], _Command]:
    def show(context: click.Context, _param: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            _print(form.skeleton())
            context.exit()

    return click.option(
        "--generate-cli-skeleton", is_flag=True, is_eager=True, expose_value=False, callback=show, help="Print a form."
    )


@click.group()
def packaging() -> None:
    """Packaging jobs: from a model version to a Greengrass component, by the service's own words."""


@packaging.command()
@_PROJECT
@click.option("--model-version", help="A number, or latest.")
@_JOB
@click.option("--configuration", metavar="JSON", help="Or file://PATH of it.")
@click.option("--description")
@click.option("--client-token")
@_CLI_INPUT
@_skeleton_option(START)
@click.option("--no-wait", is_flag=True, help="Leave the job to `packaging serve`, or to the next start.")
@_ENGINE
@_job_options
@_state_options
def start(
    engine: str, no_wait: bool, cli_input_json: Optional[str], configuration: Optional[str], **options: Any
) -> None:
    """Start a packaging job, and do it.

    Prints its name when it is over; where it FAILED, the exit status is 1.
    """
    place = _pop_state(options)
    request = build_request(cli_input_json, configuration, _members(options))
    if engine == "aws":
        _print(AwsService().start(request))
        return
    state = place()
    job = state.service.create(request)
    if not no_wait:
        state.worker(threading.Event()).wait_for(job.number)
    _print({"JobName": job.name})
    details = state.service.describe({"ProjectName": job.project, "JobName": job.name})["ModelPackagingDescription"]
    if details["Status"] == FAILED:
        raise EdgeAgentError(f"job {job.name}", f"FAILED: {details['StatusMessage']}")


@packaging.command()
@_PROJECT
@_JOB
@_CLI_INPUT
@_skeleton_option(DESCRIBE)
@_ENGINE
@_state_options
def describe(engine: str, cli_input_json: Optional[str], **options: Any) -> None:
    """Print how a job stands."""
    place = _pop_state(options)
    request = build_request(cli_input_json, None, _members(options))
    service: PackagingService = AwsService() if engine == "aws" else place().service
    _print(service.describe(request))


@packaging.command(name="list")
@_PROJECT
@click.option("--max-results", type=int)
@click.option("--next-token")
@_CLI_INPUT
@_skeleton_option(LIST)
@_ENGINE
@_state_options
def list_(engine: str, cli_input_json: Optional[str], **options: Any) -> None:
    """Print the jobs of a project, the newest first."""
    place = _pop_state(options)
    request = build_request(cli_input_json, None, _members(options))
    service: PackagingService = AwsService() if engine == "aws" else place().service
    _print(service.list(request))


@packaging.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Of the loopback interface.")
@click.option("--port", type=click.IntRange(0, 65535), default=_PORT, show_default=True, help="0 for a free one.")
@_job_options
@_state_options
@log_options
def serve(host: str, port: int, log_level: str, log_format: Optional[str], **options: Any) -> None:
    """Answer the service's API over HTTP, and do the jobs.

    Prints the endpoint and the file with the key pair that clients sign with. SIGTERM and SIGINT end it; a job at hand
    waits for the next start.
    """
    set_up_logging(log_level, log_format)
    state = _pop_state(options)()
    with PackagingServer(state.service, load_key_pair(state.directory), host, port) as server:
        stop = threading.Event()
        on_signals({signal.SIGTERM: stop.set, signal.SIGINT: stop.set})
        threading.Thread(target=server.serve_forever, name="packaging-http", daemon=True).start()
        click.echo(f"endpoint {server.url}\ncredentials {credentials_file(state.directory)}")
        state.work_until(stop)
        server.shutdown()


def _pop_state(options: Dict[str, Any]) -> Callable[[], PackagingState]:
    """Opens what `_state_options` name, for jobs as `_job_options` say; all of them are taken out of `options`.

    Nothing is made before that.
    """
    state, registry = options.pop("state"), options.pop("registry")
    known = {name: options.pop(name) for name in Settings._fields if name in options}
    return lambda: PackagingState(
        state or default_state(), Settings(registry=str(registry or default_registry()), **{"agent": "open", **known})
    )


def _members(options: Dict[str, Any]) -> Dict[str, Any]:
    """`project_name` to `ProjectName`."""
    return {"".join(word.title() for word in name.split("_")): value for name, value in options.items()}


def _print(document: Any) -> None:
    click.echo(json.dumps(document, indent=4, default=_iso, ensure_ascii=False))


def _iso(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    raise PackagingError("answer", f"holds {type(value).__name__}, which JSON does not have")
