"""One model on one agent: started when needed, frames and masks by shared memory."""

from __future__ import annotations

import threading
from typing import Optional, Union

import numpy as np

from edge_agent.clock import Clock
from edge_agent.detector.client import Detection, EdgeAgentClient, ModelState
from edge_agent.detector.starting import ensure_running
from edge_agent.errors import RequestRefusedError, ServerFaultError
from edge_agent.frame import CHANNELS, Pixels, Placement
from edge_agent.shared_memory import Segment, create_segment


class ModelSession:
    """Used by one thread. Owns the segment that masks are written to; `close` unlinks it.

    Args:
        client: the agent.
        model: the model component's name.
        clock: time.
        by_bytes: send pixels and get masks in messages, for an agent that does not share /dev/shm with us.
        start_timeout_s: seconds that the model may take to start.
    """

    def __init__(
        self,
        client: EdgeAgentClient,
        model: str,
        clock: Clock,
        *,
        by_bytes: bool = False,
        start_timeout_s: float = 180.0,
    ) -> None:
        self.model = model
        self._client = client
        self._clock = clock
        self._by_bytes = by_bytes
        self._start_timeout_s = start_timeout_s
        self._segment: Optional[Segment] = None
        self._state: Optional[ModelState] = None

    @property
    def arn(self) -> str:
        return self._state.arn if self._state is not None else ""

    def ensure_running(self, stop: threading.Event) -> None:
        """See edge_agent.detector.starting; asks the agent only when nothing is known of the model."""
        if self._state is None:
            self._state = ensure_running(
                self._client, self.model, timeout_s=self._start_timeout_s, clock=self._clock, stop=stop
            )

    def forget_state(self) -> None:
        """The model may not be RUNNING any more: the next `ensure_running` asks."""
        self._state = None

    def forget_mask(self) -> None:
        """An agent that gave no answer may still write to the segment: the next call gets another one."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def detect(self, pixels: Pixels, placement: Placement) -> Detection:
        """The verdict on RGB888 pixels, shape (height, width, 3), that lie at `placement`.

        Raises:
            DetectorError: as EdgeAgentClient.detect does.
            SharedMemoryError: no room for the mask.
        """
        height, width = pixels.shape[:2]
        image = pixels.tobytes() if self._by_bytes else placement
        segment = self._segment_for(placement.size) if not self._by_bytes else None
        try:
            return self._send(width, height, image, segment)
        except RequestRefusedError:
            if segment is None:
                raise
        # The mask need not have the frame's size, and the contract says nowhere what size it has: without a segment
        # the agent returns it in the message, and with it its size.
        detection = self._send(width, height, image, None)
        if detection.mask_size is not None:
            self._segment_for(detection.mask_size[0] * detection.mask_size[1] * CHANNELS)
        return detection

    def mask_pixels(self, detection: Detection) -> Optional[Pixels]:
        """RGB888 copy of the mask of the newest detection, shape (height, width, 3); None where there is none."""
        if detection.mask_size is None:
            return None
        width, height = detection.mask_size
        if detection.mask is None:
            if self._segment is None:
                return None
            return self._segment.pixels(0, height, width).copy()
        if len(detection.mask) != width * height * CHANNELS:
            raise ServerFaultError(self.model, f"the mask has {len(detection.mask)} bytes, not {width} x {height} x 3")
        return np.frombuffer(detection.mask, np.uint8).reshape(height, width, CHANNELS)

    def close(self) -> None:
        self.forget_mask()

    def _send(self, width: int, height: int, image: Union[Placement, bytes], segment: Optional[Segment]) -> Detection:
        mask = None if segment is None else Placement(segment.name, 0, segment.size)
        return self._client.detect(self.model, width=width, height=height, image=image, mask=mask)

    def _segment_for(self, size: int) -> Segment:
        if self._segment is None or self._segment.size < size:
            self.forget_mask()
            self._segment = create_segment(size)
        return self._segment
