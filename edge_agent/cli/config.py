"""`edge-agent config`: what a configuration may hold, and whether one is right."""

from __future__ import annotations

import json
from pathlib import Path

import click
import msgspec
import yaml

from edge_agent.agent import InspectorSettings, read_settings
from edge_agent.cli.configuration import thing_name
from edge_agent.config import read_file
from edge_agent.config_reference import json_schema, markdown

_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.group()
def config() -> None:
    """Check, show and describe the inspector's configuration."""


@config.command()
@_FILE
def check(file: Path) -> None:
    """Say whether FILE is a configuration that `run` accepts; nothing is opened or started."""
    settings = _settings(file)
    click.echo(f"{file}: right, {len(settings.lanes)} lane(s): {', '.join(settings.lanes)}")


@config.command()
@_FILE
@click.option("--json", "as_json", is_flag=True, help="JSON, not YAML.")
def show(file: Path, *, as_json: bool) -> None:
    """Print FILE as it is understood, every default filled in."""
    values = msgspec.to_builtins(_settings(file))
    click.echo(json.dumps(values, indent=2) if as_json else yaml.safe_dump(values, sort_keys=False).rstrip())


@config.command()
@click.option("--markdown", "as_markdown", is_flag=True, help="A table for people, not JSON Schema.")
def schema(*, as_markdown: bool) -> None:
    """Print what a configuration may hold, as JSON Schema."""
    if as_markdown:
        click.echo(markdown(InspectorSettings), nl=False)
    else:
        click.echo(json.dumps(json_schema(InspectorSettings, "edge-agent run: configuration"), indent=2))


def _settings(file: Path) -> InspectorSettings:
    return read_settings(read_file(file), str(file), thing=thing_name())
