"""Every kind of trigger: its settings, which a configuration chooses by `type`, and what they set up."""

from __future__ import annotations

from typing import Literal, Optional, Union

from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.triggers.base import TriggerSource
from edge_agent.triggers.gpio import GpioTrigger, GpioTriggerSettings
from edge_agent.triggers.interval import IntervalSettings, IntervalTrigger


class ContinuousSettings(Settings, frozen=True, tag_field="type", tag="continuous"):
    """Every frame that the camera gives is a part. Also right for a camera that is triggered by its own input line."""


class MessageSettings(Settings, frozen=True, tag_field="type", tag="message"):
    """Messages.

    Attributes:
        source: where messages come from: `iot_core` (a topic of AWS IoT Core), `local` (a topic of Greengrass's local
            publish/subscribe) or `http` (POST /lanes/<lane>/trigger on the inspector's own address).
        topic: of the messages; `{thing}` stands for the thing's name. Not for `http`.
    """

    source: Literal["iot_core", "local", "http"]
    topic: str = ""

    def __post_init__(self) -> None:
        if (self.source == "http") != (self.topic == ""):
            raise ValueError("`topic` is needed for messages of `iot_core` and `local`, and has no place with `http`")


class PlcTriggerSettings(Settings, frozen=True, tag_field="type", tag="plc"):
    """The PLC of the output `plc` that has this lane."""


#: What `trigger` of a lane may hold.
TriggerSettings = Union[ContinuousSettings, IntervalSettings, GpioTriggerSettings, MessageSettings, PlcTriggerSettings]


def make_trigger(settings: TriggerSettings, clock: Clock) -> Optional[TriggerSource]:
    """What waits for triggers, not opened yet; None for those that come to the lane by themselves."""
    if isinstance(settings, IntervalSettings):
        return IntervalTrigger(settings, clock)
    if isinstance(settings, GpioTriggerSettings):
        return GpioTrigger(settings)
    return None
