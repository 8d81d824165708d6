"""Greengrass IPC, where the doctor runs inside a component."""

from __future__ import annotations

from typing import List

from edge_agent.doctor.finding import OK, SKIPPED, Finding
from edge_agent.errors import IpcUnavailableError
from edge_agent.greengrass.ipc import IpcClient, check_environment

_TIMEOUT_S = 10.0


def check_ipc() -> List[Finding]:
    """Raises IpcError where a nucleus is named and does not answer as it should."""
    try:
        check_environment()
    except IpcUnavailableError as error:
        return [
            Finding(
                SKIPPED,
                f"not inside a component ({error.subject} {error.reason})",
                "A component's step that runs edge-agent doctor looks at it, too.",
            )
        ]
    client = IpcClient.connect(timeout=_TIMEOUT_S)
    try:
        configuration = client.get_configuration(timeout=_TIMEOUT_S)
    finally:
        client.close()
    return [Finding(OK, f"the nucleus answers; the configuration has {len(configuration)} keys")]
