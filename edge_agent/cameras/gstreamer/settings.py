"""What can be set of a pipeline. docs/cameras.md explains it."""

from __future__ import annotations

from edge_agent.cameras.redact import redacted
from edge_agent.config import Settings


class GstreamerSettings(Settings, frozen=True, tag_field="type", tag="gstreamer"):
    """A pipeline.

    Attributes:
        pipeline: its description, as gst-launch-1.0 takes it, up to where raw video comes out. The conversion to RGB and
            the end of the pipeline are added.
        sync: frames come when their time stamps say, so that a file plays at its own speed; false: as soon as they are
            there.
        open_timeout_s: a pipeline that has not started after so many seconds is not connected.
    """

    pipeline: str
    sync: bool = False
    open_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if not self.elements:
            raise ValueError("`pipeline` is empty")
        if not 0 < self.open_timeout_s <= 300:
            raise ValueError("`open_timeout_s` must be above 0 and at most 300")

    @property
    def elements(self) -> str:
        """The description without a last exclamation mark, which the added end brings itself."""
        return self.pipeline.strip().rstrip("!").rstrip()

    @property
    def name(self) -> str:
        """What errors and inspections call it: after its first element, as the whole may hold passwords."""
        return f"gstreamer ({redacted(self.elements.split()[0])})"

    def __repr__(self) -> str:
        return f"GstreamerSettings(pipeline={redacted(self.pipeline)!r})"
