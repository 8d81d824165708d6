"""What a simulated PLC can be."""

from __future__ import annotations

from edge_agent.config import Settings
from edge_agent.modbus.handshake_map import blocks_problem
from edge_agent.modbus.protocol import WORD


class PlcSettings(Settings, frozen=True):
    """One simulated PLC.

    Attributes:
        host: address of this machine that it listens on.
        port: 0 takes a free one.
        commands: address of the first register that it writes, as the inspector's `commands`.
        status: address of the first register that the inspector writes, as its `status`.
        scan_ms: milliseconds from one run of its program to the next, 1 to 1000.
        patience_s: seconds that a part stays in front of the camera; without a trigger ready by then it passes, unseen.
        result_within_s: seconds from a trigger's acknowledgement to its result, after which none is expected.
        silent_s: seconds without a beat of the inspector's heart after which it is gone.
    """

    host: str = "127.0.0.1"
    port: int = 0
    commands: int = 0
    status: int = 16
    scan_ms: float = 10.0
    patience_s: float = 5.0
    result_within_s: float = 10.0
    silent_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= WORD:
            raise ValueError("`port` must be 0 to 65535")
        problem = blocks_problem(self.commands, self.status)
        if problem:
            raise ValueError(problem)
        if not 1 <= self.scan_ms <= 1000:
            raise ValueError("`scan_ms` must be 1 to 1000")
        if self.patience_s <= 0 or self.result_within_s <= 0 or self.silent_s <= 0:
            raise ValueError("`patience_s`, `result_within_s` and `silent_s` must be above 0")
