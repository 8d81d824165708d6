"""A directory that files go to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List

from support.outputs.peer import Peer


class FilePeer(Peer):
    """A directory; one that was renamed is a disk that was taken away."""

    name = "jsonl"
    has_state = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.folder = directory / "folder"
        self.path = self.folder / "parts.jsonl"

    def settings(self) -> Dict[str, Any]:
        return {"type": "jsonl", "path": str(self.path)}

    def start(self) -> None:
        self.folder.mkdir()

    def stop(self) -> None:
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def lines(self) -> List[Dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def applied(self) -> int:
        return len(self.lines())
