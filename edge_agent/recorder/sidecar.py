"""The inspection beside a recorded image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

# An inspection has some thousand bytes.
_MAX_BYTES = 1_000_000


def read_sidecar(path: Path) -> Dict[str, Any]:
    """The inspection in its published form; OSError where the file cannot be read, ValueError where it is torn."""
    with path.open("rb") as file:
        try:
            inspection = json.loads(file.read(_MAX_BYTES))
        except RecursionError as error:
            raise ValueError("is nested too deeply") from error
    if not isinstance(inspection, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004 - what is torn is one error
    return inspection
