"""Which kept files were inspected, in a file that outlives the inspector.

One line a file, `["name", key]`, appended when its frame is settled: a kill loses nothing, a power cut the last
moments, whose files are inspected once more.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Dict, Iterator, Tuple

from edge_agent.errors import CameraError

# Lines without use that are not worth writing the file anew.
_SLACK = 1000


class Memory:
    """The file. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0

    def read(self) -> Dict[str, int]:
        """By name, the key of the state in which it was inspected last.

        Raises:
            CameraError: the file cannot be read, or not be written.
        """
        known: Dict[str, int] = {}
        self._lines = 0
        try:
            with self._path.open("a+", encoding="utf-8", errors="replace") as file:
                file.seek(0)
                for line in file:
                    self._lines += 1
                    known.update(_entries(line))
        except OSError as error:
            remedy = "Name a file in a directory that can be written in `remember`."
            raise CameraError(
                str(self._path), f"cannot be used to remember files ({error.strerror})", remedy
            ) from error
        return known

    def note(self, name: str, key: int) -> None:
        """Raises: OSError."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(name, key))
        self._lines += 1

    def forget_all_but(self, known: Dict[str, int]) -> None:
        """Write the file anew, where most of its lines are about files that are gone. Raises: OSError."""
        if self._lines <= 2 * len(known) + _SLACK:
            return
        partial = self._path.with_name(f"{self._path.name}.part")
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(_line(name, key) for name, key in known.items())
        partial.replace(self._path)
        self._lines = len(known)


def _line(name: str, key: int) -> str:
    # First an end of line: the line before may have been torn off.
    return f"\n{json.dumps([name, key])}"


def _entries(line: str) -> Iterator[Tuple[str, int]]:
    """What a line says; nothing where it is damaged, as by a power cut."""
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        name, key = json.loads(line)
        if isinstance(name, str) and isinstance(key, int):
            yield name, key
