"""What the outputs hear of a lane's parts: each one captured, and then decided, or given up."""

from __future__ import annotations

from typing import Optional

from edge_agent.clock import Clock
from edge_agent.frame import Frame
from edge_agent.inspection import Inspection
from edge_agent.outputs import Outputs, Part
from edge_agent.triggers import Trigger


class Parts:
    """Safe to use from any thread; each call returns at once.

    Args:
        lane: its name.
        outputs: who hears.
        clock: time.

    Attributes:
        decide_by_ms: of the lane; may change while it runs.
    """

    def __init__(self, lane: str, outputs: Outputs, clock: Clock) -> None:
        self._lane = lane
        self._outputs = outputs
        self._clock = clock
        self.decide_by_ms = 0.0

    def captured(self, frame: Frame) -> None:
        self._outputs.expect(_part(frame), self.decide_by_ms)

    def decided(self, frame: Frame, inspection: Inspection) -> None:
        self._outputs.offer(_part(frame), inspection)

    def lost(self, frame: Frame, cause: str) -> None:
        """The frame gets no verdict."""
        self._outputs.give_up(_part(frame), "lost", cause)

    def not_captured(self, cause: str, trigger: Optional[Trigger]) -> None:
        """The image of a part could not be read."""
        self._outputs.give_up(self._without_frame(trigger), "lost", cause)

    def missed(self, trigger: Trigger, cause: str) -> None:
        self._outputs.give_up(self._without_frame(trigger), "missed_trigger", cause)

    def trouble(self) -> None:
        """No part can be judged now."""
        self._outputs.trouble(self._lane)

    def _without_frame(self, trigger: Optional[Trigger]) -> Part:
        now_ns, wall_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        if trigger is None:
            return Part(self._lane, now_ns, wall_ns)
        ago_ns = now_ns - trigger.triggered_ns
        return Part(self._lane, trigger.triggered_ns, wall_ns - ago_ns, trigger_id=trigger.id)


def _part(frame: Frame) -> Part:
    return Part(frame.camera, frame.captured_ns, frame.captured_at_ns, frame.sequence, frame.trigger_id)
