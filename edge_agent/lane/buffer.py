"""Frames on their way from the capturing to the inspecting thread, and what happens when there are too many."""

from __future__ import annotations

import threading
from collections import deque
from typing import Callable, Deque, Literal, Optional

from edge_agent.frame import Frame
from edge_agent.metrics import Accounting

#: What a full buffer does with one more frame.
#:   wait     nothing: the camera waits, as a folder can
#:   latest   the frame that waited longest is dropped: the newest part counts
#:   oldest   the new frame is dropped: parts that are waiting come first
Policy = Literal["wait", "latest", "oldest"]


class FrameBuffer:
    """At most `size` frames, in order. Its fill is the only reason to drop a frame of a running lane.

    Args:
        size: frames.
        policy: what happens to one more.
        accounting: of the lane.
        dropped: called with each frame that the policy drops, and the cause.
    """

    def __init__(
        self,
        size: int,
        policy: Policy,
        accounting: Accounting,
        dropped: Callable[[Frame, str], None] = lambda _frame, _cause: None,
    ) -> None:
        self._size = size
        self._policy = policy
        self._accounting = accounting
        self._dropped = dropped
        self._frames: Deque[Frame] = deque()
        self._changed = threading.Condition()
        self._ended = False

    def full(self) -> bool:
        """Whether one more frame would have to wait, or cost one."""
        with self._changed:
            return len(self._frames) >= self._size

    def waiting(self) -> int:
        with self._changed:
            return len(self._frames)

    def put(self, frame: Frame, timeout: float) -> bool:
        """Take the frame over, or drop one as the policy says; false: no room within `timeout`, it is still yours."""
        dropped: Optional[Frame] = None
        with self._changed:
            if self._policy == "wait":
                if not self._changed.wait_for(lambda: len(self._frames) < self._size, timeout):
                    return False
            elif len(self._frames) >= self._size:
                dropped = frame if self._policy == "oldest" else self._frames.popleft()
            if dropped is not frame:
                self._frames.append(frame)
                self._changed.notify_all()
        if dropped is not None:
            dropped.release()
            dropped.settled()
            cause = "buffer_full" if dropped is frame else "replaced"
            self._accounting.drop(cause)
            self._dropped(dropped, cause)
        return True

    def get(self, timeout: float) -> Optional[Frame]:
        """The next frame, or None when there was none within `timeout` seconds or will be none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended, timeout)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    def end(self) -> None:
        """No frame will be put any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def ended(self) -> bool:
        """Whether every frame that ever was put is gone and none will come."""
        with self._changed:
            return self._ended and not self._frames

    def drop_all(self, cause: str) -> None:
        with self._changed:
            frames, self._frames = list(self._frames), deque()
            self._changed.notify_all()
        for frame in frames:
            frame.release()
            self._accounting.drop(cause)
