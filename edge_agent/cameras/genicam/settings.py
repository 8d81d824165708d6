"""What can be set of a GenICam camera. docs/genicam.md explains it."""

from __future__ import annotations

from typing import Dict, Literal, Optional, Union

import msgspec

from edge_agent.config import Settings
from edge_agent.frame import MAX_SIDE, MIN_SIDE


class RegionSettings(Settings, frozen=True):
    """The part of the sensor that is sent.

    Attributes:
        width, height: pixels.
        x, y: pixels of its upper left corner from that of the sensor.
    """

    width: int
    height: int
    x: int = 0
    y: int = 0

    def __post_init__(self) -> None:
        if not (MIN_SIDE <= self.width <= MAX_SIDE and MIN_SIDE <= self.height <= MAX_SIDE):
            raise ValueError(f"`width` and `height` must be {MIN_SIDE} to {MAX_SIDE}")
        if self.x < 0 or self.y < 0:
            raise ValueError("`x` and `y` must not be below 0")


class TriggerSettings(Settings, frozen=True):
    """What makes the camera take an image.

    Attributes:
        mode: `free` (it goes by itself), `software` (each capture asks for one), `line` (an input of the camera).
        source: the input, as the camera names it.
        activation: the edge or level of the input, as the camera names it.
        delay_us: microseconds from the trigger to the exposure.
        timeout_s: how long an image that was asked for may take.
    """

    mode: Literal["free", "software", "line"] = "free"
    source: str = "Line1"
    activation: Literal["RisingEdge", "FallingEdge", "AnyEdge", "LevelHigh", "LevelLow"] = "RisingEdge"
    delay_us: Optional[float] = None
    timeout_s: float = 2.0

    def __post_init__(self) -> None:
        if self.delay_us is not None and self.delay_us < 0:
            raise ValueError("`delay_us` must not be below 0")
        if self.timeout_s <= 0:
            raise ValueError("`timeout_s` must be above 0")
        if not self.source:
            raise ValueError("`source` is empty")


class NetworkSettings(Settings, frozen=True):
    """How a GigE Vision camera sends.

    Attributes:
        packet_size: bytes of a packet with its headers; none: the largest that comes through, found by test packets.
        packet_delay_ns: nanoseconds between two packets; none: as the camera has it.
        resend: ask again for packets that did not come.
        packet_socket: take packets past the kernel's UDP where this process may (CAP_NET_RAW): less work for each.
        frame_retention_ms: how long an image is waited for after its last packet; then it counts as incomplete.
    """

    packet_size: Optional[int] = None
    packet_delay_ns: Optional[int] = None
    resend: bool = True
    packet_socket: bool = True
    frame_retention_ms: int = 200

    def __post_init__(self) -> None:
        # The smallest that GigE Vision obliges a camera to, and the largest that its 16-bit register holds.
        if self.packet_size is not None and not 576 <= self.packet_size <= 65535:
            raise ValueError("`packet_size` must be 576 to 65535")
        if self.packet_delay_ns is not None and self.packet_delay_ns < 0:
            raise ValueError("`packet_delay_ns` must not be below 0")
        if self.frame_retention_ms < 1:
            raise ValueError("`frame_retention_ms` must be at least 1")


class GenicamSettings(Settings, frozen=True, tag_field="type", tag="genicam"):
    """A GigE Vision or USB3 Vision camera. What is not set stays as the camera has it.

    Attributes:
        device: its serial number, IP or MAC address, user-defined name or id; empty: the only one attached.
        pixel_format: in the Pixel Format Naming Convention, such as Mono8 or BayerRG12p.
        region: the part of the sensor that is sent.
        exposure_us: microseconds; its automatic is switched off.
        gain: in the camera's unit (mostly dB); its automatic is switched off.
        frame_rate: images a second, in free run.
        trigger: what makes it take an image.
        features: further features by their GenICam name, set in this order, last of all.
        network: how a GigE Vision camera sends.
        buffers: images that may wait between two captures; more than that are underruns.
    """

    device: str = ""
    pixel_format: str = ""
    region: Optional[RegionSettings] = None
    exposure_us: Optional[float] = None
    gain: Optional[float] = None
    frame_rate: Optional[float] = None
    trigger: TriggerSettings = TriggerSettings()
    features: Dict[str, Union[bool, int, float, str]] = msgspec.field(default_factory=dict)
    network: NetworkSettings = NetworkSettings()
    buffers: int = 8

    def __post_init__(self) -> None:
        if not 2 <= self.buffers <= 100:
            raise ValueError("`buffers` must be 2 to 100")
        if self.frame_rate is not None and self.trigger.mode != "free":
            raise ValueError("`frame_rate` is for `trigger.mode: free`")
