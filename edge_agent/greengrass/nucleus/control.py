"""Commands to a running stand-in: one JSON object a line over the control socket, the same from Python.

{"command": "slow", "arguments": {"seconds": 2}}   ->   {} or a result or {"error": "..."}
"""

from __future__ import annotations

import base64
import json
import math
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Dict, Mapping, Optional, Union

from edge_agent.errors import NucleusError
from edge_agent.greengrass.nucleus.state import OperationError

if TYPE_CHECKING:
    from edge_agent.greengrass.nucleus.server import Server

Result = Dict[str, Any]

#: Error shapes of the IPC model that `refuse` can answer with.
ERROR_SHAPES = (
    "ServiceError",
    "UnauthorizedError",
    "InvalidArgumentsError",
    "ResourceNotFoundError",
    "ConflictError",
    "FailedUpdateConditionCheckError",
)


def control_path(socket_path: Union[str, Path]) -> Path:
    """The control socket of the nucleus at this IPC socket."""
    return Path(f"{socket_path}.control")


def send_command(socket_path: Union[str, Path], command: str, *, timeout: float = 30.0, **arguments: Any) -> Result:
    """Send one command to the nucleus that listens at `socket_path`; seconds in `timeout`.

    Raises:
        NucleusError: nobody answers, or the nucleus refuses the command.
    """
    path = control_path(Path(socket_path).absolute())
    request = json.dumps({"command": command, "arguments": arguments}, default=_encode).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(request)
            with connection.makefile("rb") as replies:
                reply: Result = json.loads(replies.readline())
    except (OSError, ValueError) as error:
        raise NucleusError(str(path), f"does not answer: {error}", "Is `edge-agent nucleus` running there?") from error
    if "error" in reply:
        raise NucleusError(f"nucleus command {command}", reply["error"])
    return reply


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    raise TypeError(f"{value!r} cannot be sent")


async def execute(server: Server, name: str, arguments: Mapping[str, Any]) -> Result:
    """Run one command on the event loop.

    Raises:
        NucleusError: no such command, or its arguments are wrong.
    """
    command = _COMMANDS.get(name)
    if command is None:
        raise NucleusError(f"command {name}", "is unknown", f"Use one of: {', '.join(_COMMANDS)}")
    try:
        result = command(server, **arguments)
        if isinstance(result, Awaitable):
            result = await result
    except (TypeError, ValueError, RecursionError, OperationError) as error:
        raise NucleusError(f"command {name}", f"cannot be done: {error}") from error
    return result or {}


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no number of seconds")
    return float(value)


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        return base64.b64decode(value["base64"], validate=True)
    if isinstance(value, str):
        return value.encode()
    raise ValueError(f"{value!r} is no payload")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no text")
    return value


def _offline(server: Server) -> None:
    server.core.cloud.set_offline()


def _online(server: Server) -> None:
    server.core.cloud.set_online()


def _slow(server: Server, seconds: float) -> None:
    server.core.faults.reply_delay = _seconds(seconds)


def _slow_acks(server: Server, seconds: Optional[float]) -> None:
    server.core.faults.acknowledge_delay = None if seconds is None else _seconds(seconds)
    if seconds == 0:
        server.core.cloud.acknowledge_all()


def _full(server: Server) -> None:
    server.core.faults.full = True


def _refuse(server: Server, error: str = "ServiceError", operation: Optional[str] = None) -> None:
    if error not in ERROR_SHAPES:
        raise ValueError(f"{error!r} is none of {', '.join(ERROR_SHAPES)}")
    server.core.faults.refusal = error
    server.core.faults.refused_operation = operation


def _delay_accept(server: Server, seconds: float) -> None:
    server.core.faults.accept_delay = _seconds(seconds)


async def _restart(server: Server, down_for: float = 0.5, change_token: bool = False) -> Result:  # noqa: FBT001, FBT002 - JSON
    await server.restart(_seconds(down_for), change_token=bool(change_token))
    return {"environment": server.nucleus.environment()}


def _forget_subscriptions(server: Server) -> None:
    server.core.cloud.forget_subscriptions()


def _reset(server: Server) -> None:
    server.core.reset_faults()


def _publish(server: Server, topic: str, payload: Any, qos: int = 1) -> Result:
    cloud = server.core.cloud
    if not cloud.online:
        raise ValueError("the nucleus is offline")
    if cloud.broker is None:
        return {"delivered": cloud.receive(_text(topic), _bytes(payload))}
    cloud.broker.publish(0, _text(topic), _bytes(payload), qos)
    return {"delivered": 0}


def _publish_local(server: Server, topic: str, payload: Any) -> Result:
    return {"delivered": server.core.publish_local(_text(topic), _bytes(payload))}


async def _configure(server: Server, values: Any) -> Result:
    return {"changed": await server.core.deploy(values)}


def _component_update(server: Server, deployment: str, restarting: bool = False) -> Result:  # noqa: FBT001, FBT002 - JSON
    return {"told": server.core.announce_update(_text(deployment), restarting=bool(restarting))}


def _component_update_done(server: Server, deployment: str) -> Result:
    return {"told": server.core.finish_update(_text(deployment))}


def _counters(server: Server) -> Result:
    return server.core.snapshot(server.clients)


def _environment(server: Server) -> Result:
    return {"environment": server.nucleus.environment()}


_COMMANDS: Dict[str, Callable[..., Any]] = {
    "offline": _offline,
    "online": _online,
    "slow": _slow,
    "slow-acks": _slow_acks,
    "full": _full,
    "refuse": _refuse,
    "delay-accept": _delay_accept,
    "restart": _restart,
    "forget-subscriptions": _forget_subscriptions,
    "reset": _reset,
    "publish": _publish,
    "publish-local": _publish_local,
    "configure": _configure,
    "component-update": _component_update,
    "component-update-done": _component_update_done,
    "counters": _counters,
    "environment": _environment,
}
