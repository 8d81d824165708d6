"""Which chip a name means."""

from __future__ import annotations

from pathlib import Path

from edge_agent.errors import MissingExtraError
from edge_agent.gpio.base import Chip

_SIMULATED = "sim:"


def open_chip(name: str) -> Chip:
    """A chip by the path of its device, or a simulated one by `sim:DIRECTORY`.

    Raises:
        GpioError: it cannot be opened.
        MissingExtraError: gpiod is not installed.
    """
    if name.startswith(_SIMULATED):
        from edge_agent.gpio.simulated import SimulatedChip

        return SimulatedChip(Path(name[len(_SIMULATED) :]))
    try:
        import gpiod
    except ImportError as error:
        raise MissingExtraError("gpiod", "gpio") from error
    if hasattr(gpiod, "LineSettings"):
        from edge_agent.gpio.libgpiod2 import Libgpiod2Chip

        return Libgpiod2Chip(gpiod, name)
    from edge_agent.gpio.libgpiod1 import Libgpiod1Chip

    return Libgpiod1Chip(gpiod, name)
