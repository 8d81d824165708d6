"""`edge-agent recipe`: component recipes held against what both nuclei take."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Tuple

import click

from edge_agent.cli.logs import report_error
from edge_agent.errors import RecipeError
from edge_agent.packaging.portable import read_portable_recipe


@click.group()
def recipe() -> None:
    """Check component recipes."""


@recipe.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: Tuple[Path, ...]) -> None:
    """Say whether each of FILES deploys unchanged on Greengrass nucleus and on nucleus lite.

    Stricter than the Greengrass Development Kit: versions, lifecycle keys, architectures, unknown braces in scripts,
    8 kB, and what else is known to fail on one of the nuclei. Exit code 1 with the first thing wrong of each file.
    """
    wrong = 0
    for file in files:
        try:
            document = read_portable_recipe(file)
        except RecipeError as error:
            report_error(str(error))
            wrong += 1
        else:
            click.echo(f"{file}: right, {document['ComponentName']} {document['ComponentVersion']}")
    if wrong:
        sys.exit(1)
