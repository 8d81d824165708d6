"""Of a model's files: what it is, wherever it lies."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Iterable

from edge_agent.errors import EngineError

_CHUNK_BYTES = 1024 * 1024


def digest_of(files: Iterable[Path], subject: str, salt: str = "") -> str:
    """32 hexadecimal digits of the names and bytes of files, in this order, and of what else makes a difference.

    Raises:
        EngineError: a file cannot be read.
    """
    digest = hashlib.sha256(salt.encode())
    try:
        for path in files:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
    except OSError as error:
        raise EngineError(subject, f"cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:32]
