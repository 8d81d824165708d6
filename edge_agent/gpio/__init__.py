"""GPIO lines: inputs whose edges the kernel reports, and outputs. Real chips through libgpiod, and a simulated one."""

from __future__ import annotations

from edge_agent.gpio.base import Chip, EdgeLine, OutputLine
from edge_agent.gpio.chips import open_chip

__all__ = ["Chip", "EdgeLine", "OutputLine", "open_chip"]
