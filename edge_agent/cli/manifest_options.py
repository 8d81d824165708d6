"""Where the images of a Ground Truth manifest lie, for the verbs that read one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import click

_Command = Callable[..., Any]


def default_s3_cache() -> Path:
    """$XDG_CACHE_HOME/edge-agent/s3, by default ~/.cache/edge-agent/s3."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # the standard: a relative one counts as none
        base = Path.home() / ".cache"
    return base / "edge-agent" / "s3"


def manifest_options(command: _Command) -> _Command:
    """`--manifest`, `--source-ref-prefix` as `mapped`, and `--s3-cache`."""
    options = (
        click.option(
            "--manifest", required=True, type=click.Path(path_type=Path), help="SageMaker Ground Truth manifest."
        ),
        click.option(
            "--source-ref-prefix",
            "mapped",
            multiple=True,
            type=(str, click.Path(path_type=Path)),
            metavar="PREFIX DIR",
            help="DIR has what the manifest calls PREFIX..., such as s3://bucket/images. Repeatable.",
        ),
        click.option(
            "--s3-cache",
            type=click.Path(path_type=Path),
            default=default_s3_cache,
            help="Where images from S3 are kept.  [default: ~/.cache/edge-agent/s3]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
