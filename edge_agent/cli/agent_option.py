"""Which Edge Agent a command asks."""

from __future__ import annotations

import click

from edge_agent.contract import AWS_SOCKET

SOCKET_OPTION = click.option(
    "--socket",
    default=AWS_SOCKET,
    envvar="EDGE_AGENT_SOCKET",
    show_envvar=True,
    show_default=True,
    help="Unix socket of the Edge Agent.",
)
