"""A password that lies in a file."""

from __future__ import annotations

from pathlib import Path

from edge_agent.errors import OutputError


def read_password(path: str) -> str:
    """The text of the file, without the white space around it. Raises OutputError, which names the file alone."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(path, "cannot be read as text", "Check the file.") from error
