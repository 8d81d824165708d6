"""What a local nucleus wrote into its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

from edge_agent.inspection import inspections_in


def published(record: Path) -> List[Dict[str, Any]]:
    """Every inspection in the record's whole lines, in order, of batches and alone; none where there is no record.

    What else an inspector publishes, such as its health, is left out.
    """
    if not record.exists():
        return []
    lines = record.read_bytes().split(b"\n")[:-1]
    return [inspection for line in lines for inspection in inspections_in(json.loads(line)["payload"])]
