"""What the rigs of live sources share: pictures that go round, on an address of their own."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Optional, Tuple

from support.cameras.pattern import HEIGHT, NUMBERS, WIDTH, number_in
from support.cameras.rig import Rig

from edge_agent.frame import Pixels

#: Pictures a second.
RATE = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class LiveRig(Rig):
    """Numbers go round: each is told as the first one after the last that has its picture."""

    can_be_silent = True
    tolerance = 12

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self._last: Optional[int] = None

    def check(self, pixels: Pixels) -> int:
        number = number_in(pixels, self.tolerance)
        if self._last is not None:
            number = self._last + (number - self._last - 1) % NUMBERS + 1
        self._last = number
        return number

    def shape(self) -> Tuple[int, int]:
        return HEIGHT, WIDTH
