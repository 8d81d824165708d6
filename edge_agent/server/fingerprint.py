"""Which files a package consists of, so that a change of any of them is noticed without reading them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import FrozenSet, Tuple

#: Path, inode, size and time of each file.
Fingerprint = FrozenSet[Tuple[str, int, int, int]]


def fingerprint_of(package: Path) -> Fingerprint:
    """Of a directory or a zip; empty where nothing is there."""
    files = set()
    names = [package] if package.is_file() else [Path(top, name) for top, _, some in os.walk(package) for name in some]
    for file in names:
        with contextlib.suppress(OSError):
            status = file.stat()
            files.add((str(file), status.st_ino, status.st_size, status.st_mtime_ns))
    return frozenset(files)
