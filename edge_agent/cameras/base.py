"""What every camera does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Protocol, runtime_checkable

from edge_agent.frame import MAX_SIDE, MIN_SIDE, Pixels, do_nothing

#: Called with (height, width), gives the writable RGB888 view (height, width, 3) uint8 to put the image into.
Reserve = Callable[[int, int], Pixels]


def size_problem(width: int, height: int) -> str:
    """Why an image of this size cannot become a frame; empty when it can."""
    if MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE:
        return ""
    return f"is {width} x {height} pixels; an Edge Agent takes {MIN_SIDE} to {MAX_SIDE} a side"


@dataclass(frozen=True)
class Captured:
    """What a camera says of the image it put into the slot.

    Attributes:
        source: where it came from.
        captured_at_ns: wall clock, nanoseconds since 1970-01-01 UTC.
        captured_ns: monotonic clock, nanoseconds.
        pixels: the view that was filled.
        settled: to be called, from any thread, when what becomes of the frame is final; returns at once.
    """

    source: str
    captured_at_ns: int
    captured_ns: int
    pixels: Pixels
    settled: Callable[[], None] = do_nothing


class Camera(Protocol):
    """A source of images. Used by one thread at a time. tests/cameras/test_contract.py holds every kind to this."""

    @property
    def free_running(self) -> bool:
        """Whether images come by themselves, wanted or not, as from a video stream; else each `capture` asks for one."""

    def open(self) -> None:
        """Make ready, also again after `close`. Takes no longer than the camera's settings say.

        Raises:
            CameraNotConnectedError: not now; worth another try.
            CameraError: never, as configured.
        """

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        """Put the next image into the place that `reserve` gives; None when none came within `timeout` seconds.

        `reserve` is called once for an image, with its size, and nothing outside of what it gives is written.

        Raises:
            ImageError: an image came and cannot become a frame; the next call goes on with the one after it.
            CameraNotConnectedError: the camera is gone; open it again.
            EndOfInputError: there will be no more.
        """

    def close(self) -> None:
        """Let go of everything, without waiting for it; any number of times, also when never opened."""


@runtime_checkable
class CountsTransport(Protocol):
    """A camera that knows what its network or bus did, beside the frames that it gave."""

    def counters(self) -> Mapping[str, int]:
        """Counts by name, since the camera was made; they never fall. Safe from any thread."""


@runtime_checkable
class Describes(Protocol):
    """A camera that can say more of itself than its frames show."""

    def describe(self) -> Mapping[str, Any]:
        """What it is and how it is set, by name, as JSON could hold it; while it is open."""
