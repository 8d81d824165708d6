"""`edge-agent nucleus-control`: make a running local nucleus misbehave, and speak for the cloud."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

import click

from edge_agent.greengrass.nucleus.control import ERROR_SHAPES, send_command

_MARGIN_SECONDS = 30.0


@click.group("nucleus-control")
@click.option(
    "--socket", "socket_path", type=click.Path(path_type=Path), required=True, help="The IPC socket of the nucleus."
)
@click.pass_context
def nucleus_control(context: click.Context, socket_path: Path) -> None:
    """Make a running `edge-agent nucleus` misbehave, and speak for the cloud."""
    context.obj = socket_path


def _send(socket_path: Path, command: str, *, timeout: float = _MARGIN_SECONDS, **arguments: Any) -> None:
    result = send_command(socket_path, command, timeout=timeout, **arguments)
    if result:
        click.echo(json.dumps(result))


@nucleus_control.command()
@click.pass_obj
def offline(socket_path: Path) -> None:
    """Lose the connection to IoT Core."""
    _send(socket_path, "offline")


@nucleus_control.command()
@click.pass_obj
def online(socket_path: Path) -> None:
    """Have it again."""
    _send(socket_path, "online")


@nucleus_control.command()
@click.argument("seconds", type=click.FloatRange(min=0))
@click.pass_obj
def slow(socket_path: Path, seconds: float) -> None:
    """Answer every operation SECONDS after its effect; 0 ends it."""
    _send(socket_path, "slow", seconds=seconds)


@nucleus_control.command("slow-acks")
@click.argument("seconds")
@click.pass_obj
def slow_acks(socket_path: Path, seconds: str) -> None:
    """IoT Core acknowledges QoS 1 messages after SECONDS, or `never`; 0 ends it."""
    if seconds == "never":
        _send(socket_path, "slow-acks", seconds=None)
        return
    try:
        number = float(seconds)
    except ValueError as error:
        raise click.BadParameter(f"{seconds!r} is no number of seconds", param_hint="SECONDS") from error
    _send(socket_path, "slow-acks", seconds=number)


@nucleus_control.command()
@click.pass_obj
def full(socket_path: Path) -> None:
    """Refuse publishes: the spool or the in-flight window is full."""
    _send(socket_path, "full")


@nucleus_control.command()
@click.option("--error", type=click.Choice(ERROR_SHAPES), default=ERROR_SHAPES[0], show_default=True)
@click.option("--operation", help="Only this operation, such as GetConfiguration.")
@click.pass_obj
def refuse(socket_path: Path, error: str, operation: Optional[str]) -> None:
    """Answer operations with an error."""
    _send(socket_path, "refuse", error=error, operation=operation)


@nucleus_control.command("delay-accept")
@click.argument("seconds", type=click.FloatRange(min=0))
@click.pass_obj
def delay_accept(socket_path: Path, seconds: float) -> None:
    """Leave new connections alone for SECONDS; 0 ends it."""
    _send(socket_path, "delay-accept", seconds=seconds)


@nucleus_control.command()
@click.argument("seconds", type=click.FloatRange(min=0), default=0.5)
@click.option("--new-token", is_flag=True, help="Refuse the old SVCUID afterwards, as nucleus lite does.")
@click.pass_obj
def restart(socket_path: Path, seconds: float, new_token: bool) -> None:
    """Cut every connection, be gone for SECONDS (0.5), listen again; returns when it listens."""
    timeout = seconds + _MARGIN_SECONDS
    _send(socket_path, "restart", timeout=timeout, down_for=seconds, change_token=new_token)


@nucleus_control.command("forget-subscriptions")
@click.pass_obj
def forget_subscriptions(socket_path: Path) -> None:
    """Kill IoT Core subscriptions without telling anybody."""
    _send(socket_path, "forget-subscriptions")


@nucleus_control.command()
@click.pass_obj
def reset(socket_path: Path) -> None:
    """End every fault."""
    _send(socket_path, "reset")


@nucleus_control.command()
@click.argument("topic")
@click.argument("payload")
@click.option("--qos", type=click.IntRange(0, 1), default=1, show_default=True)
@click.pass_obj
def publish(socket_path: Path, topic: str, payload: str, qos: int) -> None:
    """Send PAYLOAD on TOPIC as IoT Core would."""
    _send(socket_path, "publish", topic=topic, payload=payload.encode(), qos=qos)


@nucleus_control.command("publish-local")
@click.argument("topic")
@click.argument("payload")
@click.pass_obj
def publish_local(socket_path: Path, topic: str, payload: str) -> None:
    """Send PAYLOAD on the local TOPIC as another component would."""
    _send(socket_path, "publish-local", topic=topic, payload=payload.encode())


@nucleus_control.command()
@click.argument("values")
@click.pass_obj
def configure(socket_path: Path, values: str) -> None:
    """Merge VALUES, a JSON object, into the configuration as a deployment does."""
    try:
        parsed = json.loads(values)
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}", param_hint="VALUES") from error
    _send(socket_path, "configure", values=parsed)


@nucleus_control.command("component-update")
@click.argument("deployment")
@click.option("--restarting", is_flag=True, help="The nucleus itself will restart.")
@click.pass_obj
def component_update(socket_path: Path, deployment: str, restarting: bool) -> None:
    """Announce DEPLOYMENT to components that listen for updates; they may defer it."""
    _send(socket_path, "component-update", deployment=deployment, restarting=restarting)


@nucleus_control.command("component-update-done")
@click.argument("deployment")
@click.pass_obj
def component_update_done(socket_path: Path, deployment: str) -> None:
    """Tell components that DEPLOYMENT is done."""
    _send(socket_path, "component-update-done", deployment=deployment)


@nucleus_control.command()
@click.pass_obj
def counters(socket_path: Path) -> None:
    """Print the counters."""
    _send(socket_path, "counters")


@nucleus_control.command()
@click.pass_obj
def environment(socket_path: Path) -> None:
    """Print the environment that a component needs, the SVCUID included."""
    _send(socket_path, "environment")
