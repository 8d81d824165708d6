"""A trigger: the wish for one image, with an id that goes through to the inspection."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Optional, Protocol


@dataclass(frozen=True)
class Trigger:
    """One part is in front of the camera.

    Attributes:
        source: what asked: `interval`, `gpio 17`, a topic, `http`.
        triggered_ns: monotonic clock, nanoseconds: when the part was there, as near as the source knows.
        id: names the acquisition, and the inspection that comes of it.
    """

    source: str
    triggered_ns: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class TriggerSource(Protocol):
    """Where a lane's triggers come from. Used by one thread at a time."""

    def open(self) -> None:
        """Make ready, also again after `close`.

        Raises:
            TriggerNotConnectedError: not now; worth another try.
            TriggerError: never, as configured.
        """

    def wait(self, timeout: float) -> Optional[Trigger]:
        """The next trigger; None when none came within `timeout` seconds.

        Raises:
            TriggerNotConnectedError: the source is gone; open it again.
        """

    def close(self) -> None:
        """Let go of everything; any number of times."""
