"""A simulated GPIO chip as an output's peer."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

from support.outputs.peer import Peer


class ChipPeer(Peer):
    """A simulated chip; the safe level is the active one, so that it differs from a part that was not acted on."""

    name = "gpio"
    line = 4

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.chip = directory / "chip"

    def settings(self) -> Dict[str, Any]:
        return {"type": "gpio", "chip": f"sim:{self.chip}", "line": self.line, "pulse_ms": 20, "safe": "active"}

    def start(self) -> None:
        self.chip.mkdir()

    def stop(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # In one step: a chip is there or it is not.
            self.chip.rename(self.directory / f"gone-{time.monotonic_ns()}")

    def levels(self) -> List[Tuple[int, int]]:
        """Monotonic time and level of each setting."""
        try:
            text = (self.chip / f"line{self.line}.out").read_text()
        except FileNotFoundError:
            return []
        return [(int(at), int(level)) for at, level in (line.split() for line in text.splitlines())]

    def applied(self) -> int:
        """Pulses: what follows a 0 that ended the safe state."""
        levels = [level for _at, level in self.levels()]
        return sum(1 for before, level in zip(levels, levels[1:]) if (before, level) == (0, 1))

    def is_safe(self) -> bool:
        levels = self.levels()
        return bool(levels) and levels[-1][1] == 1
