"""The Edge Agent: its socket, who answers there, and AWS's own."""

from __future__ import annotations

import shutil
import socket
import stat
from pathlib import Path
from typing import Iterator

from edge_agent.detector import EdgeAgentClient
from edge_agent.doctor.account import READ, WRITE, Account
from edge_agent.doctor.finding import BROKEN, OK, SKIPPED, WARNING, Finding
from edge_agent.errors import DetectorError, ServerUnavailableError

AWS_COMPONENT = "aws.iot.lookoutvision.EdgeAgent"

_DEADLINE_S = 5.0
_START = "Start the model server (com.edgeagent.ModelServer, or edge-agent serve), or name the socket by --socket."


def check_socket(path: Path, account: Account) -> Iterator[Finding]:
    """Whether the components' user can use the agent's socket, and somebody listens there."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        yield Finding(BROKEN, f"{path} is not there: no Edge Agent serves", _START)
        return
    except OSError as error:
        yield Finding(BROKEN, f"{path} cannot be looked at ({error.strerror})", "Run this as root: sudo.")
        return
    if not stat.S_ISSOCK(mode):
        yield Finding(BROKEN, f"{path} is no socket", "Remove it, and restart the Edge Agent.")
    elif not account.may(path, READ | WRITE):
        yield Finding(
            BROKEN,
            f"{account.name} may not connect to {path} (mode {stat.S_IMODE(mode):04o})",
            "Run both components as one user, or as users of one group.",
        )
    elif not _listens(path):
        yield Finding(BROKEN, f"{path} was left over: nobody listens", _START)
    else:
        yield Finding(OK, f"{account.name} may connect to {path}")


def check_agent(path: Path) -> Iterator[Finding]:
    """What the agent says of its models."""
    client = EdgeAgentClient(str(path), deadline_s=_DEADLINE_S)
    try:
        states = client.list_models()
    except ServerUnavailableError:
        if _listens(path):
            yield Finding(BROKEN, f"who listens at {path} is no Edge Agent", "Name the agent's socket by --socket.")
        else:
            yield Finding(SKIPPED, "nobody listens; see the check socket")
        return
    except DetectorError as error:
        yield Finding(BROKEN, f"{path} gives no list of models: {error.reason}", "Read the Edge Agent's log.")
        return
    finally:
        client.close()
    failed = [state for state in states if state.status == "FAILED"]
    for state in failed:
        yield Finding(
            BROKEN, f"model {state.component} FAILED: {state.message or 'no reason'}", "See the check models."
        )
    if not states:
        yield Finding(WARNING, "the agent has no models", "Deploy a model component, or put a package into the store.")
    elif not failed:
        yield Finding(OK, ", ".join(f"{state.component} {state.status}" for state in states))


def check_aws_agent(greengrass: Path, *, wanted: bool) -> Iterator[Finding]:
    """AWS's own agent, where it is deployed.

    Args:
        greengrass: root of the nucleus.
        wanted: whether the inspector is told to use it.
    """
    directory = greengrass / "packages" / "artifacts-unarchived" / AWS_COMPONENT
    try:
        versions = sorted(entry.name for entry in directory.iterdir())
    except FileNotFoundError:
        versions = []
    except OSError as error:
        yield Finding(SKIPPED, f"{directory} cannot be looked at ({error.strerror})", "Run this as root: sudo.")
        return
    if not versions:
        if wanted:
            yield Finding(BROKEN, f"{AWS_COMPONENT} is not on this device", "Deploy it, or set edge_agent: open.")
        else:
            yield Finding(OK, f"{AWS_COMPONENT} is not here, and not needed")
        return
    named = f"{AWS_COMPONENT} {', '.join(versions)}"
    if not any(shutil.which(name) for name in ("python3.8", "python3.9")):
        yield Finding(
            BROKEN if wanted else WARNING,
            f"{named} needs Python 3.8 or 3.9, which is not here",
            "apt-get install python3.8-venv",
        )
    else:
        yield Finding(OK, f"{named} is here")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_DEADLINE_S)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
