"""Where a verb's configuration comes from: a file, or the nucleus."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Mapping, Optional, Tuple

import click

from edge_agent.config import read_file
from edge_agent.greengrass.ipc import IpcClient

CONFIG_OPTION = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="YAML or JSON. Without it: the component's configuration, from the nucleus.",
)


def read_configuration(config_file: Optional[Path]) -> Tuple[Mapping[str, Any], str]:
    """The inspector's configuration, and what to call it in errors."""
    if config_file is not None:
        return read_file(config_file), str(config_file)
    client = IpcClient.connect()
    try:
        return client.get_configuration(), "component configuration"
    finally:
        client.close()


def thing_name() -> str:
    """As the nucleus says, or the host's."""
    return os.environ.get("AWS_IOT_THING_NAME") or socket.gethostname()
