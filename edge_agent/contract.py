"""What both sides of the Edge Agent contract agree on beside the messages (contract sections 1.1, 1.8)."""

from __future__ import annotations

from pathlib import Path

#: Where AWS's Edge Agent listens, and where unmodified clients look for it.
AWS_SOCKET = "/tmp/aws.iot.lookoutvision.EdgeAgent.sock"  # noqa: S108 - the contract's path

#: Where our model server listens, whoever has the other path.
OWN_SOCKET = "/tmp/com.edgeagent.ModelServer.sock"  # noqa: S108 - beside the contract's

#: gRPC's own limit of 4 MiB is below one 1080p frame; the contract's largest image is 48 MiB.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

#: Trailing metadata of DetectAnomalies from our server: the version of the model that decided, and milliseconds of
#: waiting, pre-processing, inference and post-processing, joined by semicolons.
VERSION_METADATA = "edge-agent-model-version"
TIMINGS_METADATA = "edge-agent-timings"


def socket_path(address: str) -> Path:
    """The absolute path in a plain path or in AWS's form `unix:///tmp/x.sock`."""
    return Path(address[len("unix:") :] if address.startswith("unix:") else address).absolute()
