"""Room and rights where things are written: the spool, shared memory, the model store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, NamedTuple

from edge_agent.doctor.account import SEARCH, WRITE, Account
from edge_agent.doctor.finding import BROKEN, OK, WARNING, Finding

_MIB = 1024 * 1024
_LEAST_INODES = 1000


class Place(NamedTuple):
    """A directory that is written to; one that is not there yet is made below its nearest parent.

    Attributes:
        what: for people.
        path: of it.
        least: bytes below which nothing works.
        wanted: bytes that it may come to need.
    """

    what: str
    path: Path
    least: int = 64 * _MIB
    wanted: int = 0


def check_disk(place: Place, account: Account) -> Iterator[Finding]:
    """Raises OSError where it cannot be looked at."""
    directory = next(path for path in (place.path, *place.path.parents) if path.is_dir())
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    here = f"{place.what} {place.path}"
    if status.f_flag & os.ST_RDONLY:
        yield Finding(
            BROKEN, f"{here} is on a read-only file system", "sudo mount -o remount,rw it, and look at dmesg."
        )
    elif not account.may(directory, WRITE | SEARCH):
        yield Finding(BROKEN, f"{account.name} may not write to {directory} for the {place.what}", "Give it the right.")
    elif free < place.least:
        yield Finding(BROKEN, f"{here} has {_mib(free)} free of at least {_mib(place.least)}", "Free some room.")
    elif status.f_files and status.f_favail < _LEAST_INODES:
        yield Finding(BROKEN, f"{here} has {status.f_favail} inodes free", "Remove small files.")
    elif free < place.wanted:
        yield Finding(
            WARNING,
            f"{here} has {_mib(free)} free, and may come to need {_mib(place.wanted)}",
            "Free some room, or lower its limit.",
        )
    else:
        yield Finding(OK, f"{here} has {_mib(free)} free")


def _mib(size: int) -> str:
    return f"{size // _MIB} MiB"
