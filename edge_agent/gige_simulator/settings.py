"""What a simulated camera can be."""

from __future__ import annotations

import ipaddress

from edge_agent.config import Settings
from edge_agent.frame import MAX_SIDE, MIN_SIDE

# The register of the serial number has 16 bytes, the last of which is 0.
_LONGEST_SERIAL = 15


class SimulatorSettings(Settings, frozen=True):
    """One simulated camera.

    Attributes:
        address: IPv4, of this machine; each camera needs one of its own (127.0.0.1, 127.0.0.2, …).
        serial: serial number.
        width: of the sensor, pixels.
        height: of the sensor, pixels.
        rate: images a second in free run, until a controller sets another.
        loss: share of the stream's packets that are lost, 0..1; those that are sent again are lost as often.
        resend: whether packets are sent again when they are asked for.
        mtu: larger packets do not come through.
        seed: of the losses.
    """

    address: str = "127.0.0.1"
    serial: str = "SIM1"
    width: int = 640
    height: int = 480
    rate: float = 25.0
    loss: float = 0.0
    resend: bool = True
    mtu: int = 9000
    seed: int = 0

    def __post_init__(self) -> None:
        try:
            ipaddress.IPv4Address(self.address)
        except ValueError:
            raise ValueError("`address` must be an IPv4 address of this machine") from None
        if not 1 <= len(self.serial) <= _LONGEST_SERIAL or not self.serial.isascii():
            raise ValueError(f"`serial` must be 1 to {_LONGEST_SERIAL} ASCII characters")
        if not (MIN_SIDE <= self.width <= MAX_SIDE and MIN_SIDE <= self.height <= MAX_SIDE):
            raise ValueError(f"`width` and `height` must be {MIN_SIDE} to {MAX_SIDE}")
        if self.width % 2 or self.height % 2:
            raise ValueError("`width` and `height` must be even")
        if not 0.1 <= self.rate <= 1000:
            raise ValueError("`rate` must be 0.1 to 1000")
        if not 0 <= self.loss <= 1:
            raise ValueError("`loss` must be 0 to 1")
        if not 576 <= self.mtu <= 65535:
            raise ValueError("`mtu` must be 576 to 65535")
