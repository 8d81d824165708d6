"""Forms of options that more than one verb has."""

from __future__ import annotations

import re
from typing import Optional, Tuple

import click


def size(_ctx: click.Context, _param: click.Parameter, value: Optional[str]) -> Optional[Tuple[int, int]]:
    """(width, height) of an option of the form 320x240."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)
    if not match:
        raise click.BadParameter(f"{value!r} is not of the form 320x240")
    return int(match.group(1)), int(match.group(2))
