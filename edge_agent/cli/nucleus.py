"""`edge-agent nucleus`: a stand-in for the Greengrass nucleus, in the foreground."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Optional, Tuple

import click

from edge_agent.errors import NucleusError

if TYPE_CHECKING:
    from edge_agent.greengrass.nucleus import LocalNucleus

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_WATCH_SECONDS = 1.0


@click.command()
@click.option("--socket", "socket_path", type=click.Path(path_type=Path), required=True, help="The IPC socket to make.")
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    help="The component's recipe (YAML or JSON): its configuration and what it may do. "
    "Without one the configuration is empty and everything is allowed.",
)
@click.option(
    "--mode",
    type=click.Choice(["classic", "lite"]),
    default="classic",
    show_default=True,
    help="The nucleus to imitate.",
)
@click.option("--record", type=click.Path(path_type=Path), help="Append every accepted IoT Core publish to this file.")
@click.option("--broker", metavar="HOST:PORT", help="Bridge IoT Core topics to this MQTT broker (extra: broker).")
@click.option("--thing", default="LocalThing", show_default=True, help="The thing's name.")
@click.option("--region", default="us-east-1", show_default=True, help="The AWS region that the component is told.")
@click.option(
    "--env-file", type=click.Path(path_type=Path), help="Also write the export lines to this file, mode 0600."
)
def nucleus(
    socket_path: Path,
    recipe: Optional[Path],
    mode: str,
    record: Optional[Path],
    broker: Optional[str],
    thing: str,
    region: str,
    env_file: Optional[Path],
) -> None:
    """Stand in for the Greengrass nucleus's IPC server, until SIGTERM or SIGINT.

    Prints the `export` lines that a component needs. SVCUID of its own environment is the token, if it is set.
    SIGUSR1 prints the counters; `edge-agent nucleus-control` makes it misbehave.
    """
    from edge_agent.greengrass.nucleus import LocalNucleus

    local = LocalNucleus(
        socket_path,
        recipe=recipe,
        mode=mode,
        thing=thing,
        region=region,
        token=os.environ.get("SVCUID"),
        record=record,
        broker=None if broker is None else _address(broker),
        on_new_token=lambda _token: _publish_environment(local.environment(), env_file),
    )
    # Blocked before any thread starts, so that the signals wait for sigtimedwait here.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with local:
        _publish_environment(local.environment(), env_file)
        _wait(local)
        click.echo(json.dumps(local.counters()), err=True)


def _wait(local: LocalNucleus) -> None:
    while local.running:
        received = signal.sigtimedwait(_SIGNALS, _WATCH_SECONDS)
        if received is None:
            continue
        if received.si_signo != signal.SIGUSR1:
            return
        click.echo(json.dumps(local.counters()), err=True)
    raise NucleusError(str(local.socket_path), "stopped by itself")


def _publish_environment(environment: Dict[str, str], env_file: Optional[Path]) -> None:
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    if env_file is not None:
        _write_private(env_file, text)
    click.echo(text, nl=False)


def _write_private(path: Path, text: str) -> None:
    # Written beside and renamed, so that a script never reads half of it.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        raise NucleusError(str(path), f"cannot be written: {error.strerror}") from error


def _address(text: str) -> Tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{text!r} is not HOST:PORT", param_hint="--broker")
    return host.strip("[]"), int(port)
