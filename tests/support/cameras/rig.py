"""What the contract's tests need of one kind of camera: its settings, and a source that they put up and take away."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Dict, List, Optional, Tuple

from edge_agent.frame import Pixels


class Rig:
    """One kind of camera. A kind's rig overrides what differs; a method that says nothing here must be written.

    Attributes:
        name: of the rig, in the names of the tests.
        frames: how many frames the source gives before its end; None: it has no end.
        has_source: whether there is something that can be missing (False: the camera makes its own pictures).
        notices_loss: whether the camera notices that its source was taken away while it is open.
        can_be_silent: whether the source can be there and give nothing, after `silence`.
        notice_s: seconds within which a source that is missing or taken away is noticed.
    """

    name: ClassVar[str]
    frames: ClassVar[Optional[int]] = None
    has_source: ClassVar[bool] = True
    notices_loss: ClassVar[bool] = True
    can_be_silent: ClassVar[bool] = False
    notice_s: ClassVar[float] = 10.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def missing(cls) -> str:
        """What this machine lacks for the source; empty: nothing. scripts/test installs it where that can be done."""
        return ""

    def settings(self) -> Dict[str, Any]:
        """The lane's `camera`, as a configuration file would have it."""
        raise NotImplementedError

    def start(self) -> None:
        """Put the source up, ready to give its frames."""
        raise NotImplementedError

    def stop(self) -> None:
        """Take the source away; any number of times."""
        raise NotImplementedError

    def silence(self) -> None:
        """From now on the source is there and gives nothing."""
        raise NotImplementedError

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        """Changes to the settings that must be refused, and words of the reason."""
        raise NotImplementedError

    def check(self, pixels: Pixels) -> int:
        """Assert that these are, pixel by pixel, a frame of this source, and say which: numbers grow frame by frame."""
        raise NotImplementedError

    def shape(self) -> Tuple[int, int]:
        """Height and width of the frames."""
        raise NotImplementedError
