"""What a lane is told."""

from __future__ import annotations

from typing import Literal, Optional

import msgspec

from edge_agent.cameras import CameraSettings
from edge_agent.config import Settings
from edge_agent.lane.buffer import Policy
from edge_agent.triggers import ContinuousSettings, TriggerSettings

#: Characters of a component's name (contract section 4.1).
MAX_COMPONENT_NAME = 128

_MAX_BUFFER = 64


class LaneSettings(Settings, frozen=True):
    """One lane.

    Attributes:
        model: the model component that inspects its frames.
        camera: where the frames come from.
        trigger: what asks for a frame; `continuous` takes every frame that the camera gives.
        policy: what happens to one more frame when the buffer is full: `wait` leaves it with the camera, `latest` drops
            the one that waited longest, `oldest` drops the new one.
        buffer: frames that may wait for the model, 1 to 64, beside the one being captured and the one being inspected.
        acquire_within_s: seconds after which a trigger without an image is missed.
        threshold: score from which a frame is anomalous, 0 to 1, in place of the model's own; null for the model's.
        decide_by_ms: milliseconds from capture to verdict; what takes longer is counted as late. 0: no limit.
        silent_after_s: seconds without a frame after which a free-running camera is connected anew; 0: never.
        stale_after_s: seconds of the same picture after which the camera is called stale; 0: never.
        pixels: `shared_memory`, or `bytes` for an Edge Agent that does not share /dev/shm with the inspector.
        deadline_s: seconds that one call to the Edge Agent may take.
        start_timeout_s: seconds that a model may take to start.
    """

    model: str
    camera: CameraSettings
    trigger: TriggerSettings = ContinuousSettings()
    policy: Policy = "wait"
    buffer: int = 1
    acquire_within_s: float = 2.0
    threshold: Optional[float] = None
    decide_by_ms: float = 0.0
    silent_after_s: float = 10.0
    stale_after_s: float = 0.0
    pixels: Literal["shared_memory", "bytes"] = "shared_memory"
    deadline_s: float = 2.0
    start_timeout_s: float = 180.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.model) <= MAX_COMPONENT_NAME:
            raise ValueError(f"`model` must be a component's name of 1 to {MAX_COMPONENT_NAME} characters")
        if self.deadline_s <= 0 or self.start_timeout_s <= 0 or self.acquire_within_s <= 0:
            raise ValueError("`deadline_s`, `start_timeout_s` and `acquire_within_s` must be above 0")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError("`threshold` must be 0 to 1, or null for the model's own")
        if not 1 <= self.buffer <= _MAX_BUFFER:
            raise ValueError(f"`buffer` must be 1 to {_MAX_BUFFER} frames")
        if self.decide_by_ms < 0 or self.silent_after_s < 0 or self.stale_after_s < 0:
            raise ValueError("`decide_by_ms`, `silent_after_s` and `stale_after_s` must be 0 or more")

    def needs_new_lane(self, other: LaneSettings) -> bool:
        """Whether a running lane of these settings must be built anew to have the other ones."""
        return msgspec.structs.replace(self, threshold=other.threshold, decide_by_ms=other.decide_by_ms) != other
