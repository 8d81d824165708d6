"""Triggers: what asks a lane for an image. A source can open, wait, close; the lane reconnects and counts."""

from __future__ import annotations

from edge_agent.triggers.base import Trigger, TriggerSource
from edge_agent.triggers.gpio import GpioTriggerSettings
from edge_agent.triggers.interval import IntervalSettings
from edge_agent.triggers.kinds import (
    ContinuousSettings,
    MessageSettings,
    PlcTriggerSettings,
    TriggerSettings,
    make_trigger,
)

__all__ = [
    "ContinuousSettings",
    "GpioTriggerSettings",
    "IntervalSettings",
    "MessageSettings",
    "PlcTriggerSettings",
    "Trigger",
    "TriggerSettings",
    "TriggerSource",
    "make_trigger",
]
