"""Python and what was installed into it."""

from __future__ import annotations

import platform
import re
import sys
from importlib import metadata
from typing import Iterator, List, Tuple

from edge_agent import __version__
from edge_agent.doctor.finding import BROKEN, OK, Finding

_OLDEST, _NEWEST = (3, 8), (3, 13)
_PACKAGE = "edge-agent"


def check_python(
    version: Tuple[int, int] = (sys.version_info[0], sys.version_info[1]), package: str = _PACKAGE
) -> Iterator[Finding]:
    """Args:
    version: of the interpreter.
    package: whose requirements must be installed; those of its extras are not looked at.
    """
    here = f"{platform.python_implementation()} {version[0]}.{version[1]} on {platform.machine()}"
    if not _OLDEST <= version <= _NEWEST:
        yield Finding(BROKEN, f"{here} is not supported", "Install CPython 3.8 to 3.13 beside it.")
        return
    missing = [name for name in _requirements(package) if not _is_installed(name)]
    if missing:
        yield Finding(
            BROKEN,
            f"{here} has no {', '.join(missing)}",
            f"Install again: {sys.executable} -m pip install --upgrade {package}",
        )
    else:
        yield Finding(OK, f"{here}, edge-agent {__version__}")


def _requirements(package: str) -> List[str]:
    """Names only: several entries of one package differ by Python and machine, and pip has chosen already."""
    names = []
    for entry in metadata.requires(package) or []:
        match = re.match(r"[A-Za-z0-9._-]+", entry)
        if match and "extra ==" not in entry and match.group() not in names:
            names.append(match.group())
    return names


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
