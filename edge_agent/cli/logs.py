"""Logging of the command line: one line an event, on stderr."""

from __future__ import annotations

import logging

import click

LOG_LEVEL_OPTION = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="EDGE_AGENT_LOG_LEVEL",
    help="What is logged, on stderr.",
)


def set_up_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"
    )
