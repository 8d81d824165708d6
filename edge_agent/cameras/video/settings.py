"""What can be set of a video. docs/cameras.md explains it."""

from __future__ import annotations

import re
from typing import Literal

from edge_agent.cameras.redact import redacted
from edge_agent.config import Settings

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_STREAMS = ("rtsp", "http", "https")


class VideoSettings(Settings, frozen=True, tag_field="type", tag="video"):
    """A file or a stream.

    Attributes:
        source: the path of a file, or an address that begins with rtsp://, http:// or https://. User and password
            may stand in it; they are shown nowhere.
        transport: how RTSP packets come.
        open_timeout_s: a source that has not answered after so many seconds is not connected.
        read_timeout_s: a source that gave no frame for so many seconds is not connected any more.
        speed: of a file: 1: as it was recorded, 2: twice as fast, 0: as fast as the lane takes the frames.
        ca_file: certificates of authorities to trust for https://; empty: the system's.
    """

    source: str
    transport: Literal["tcp", "udp"] = "tcp"
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    speed: float = 1.0
    ca_file: str = ""

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("`source` is empty")
        if self.scheme and self.scheme not in _STREAMS:
            raise ValueError(f"`source` must be a path or begin with one of {', '.join(s + '://' for s in _STREAMS)}")
        if self.scheme and "@" in self.source.split("://", 1)[1].partition("/")[2]:
            # Without this a password that holds a slash would be taken for a host and a path, and shown.
            raise ValueError("`source` has an @ behind its host: write %40 for it, and %2F for a / in a password")
        if not (0 < self.open_timeout_s <= 300 and 0 < self.read_timeout_s <= 300):
            raise ValueError("`open_timeout_s` and `read_timeout_s` must be above 0 and at most 300")
        if not 0 <= self.speed <= 1000:
            raise ValueError("`speed` must be 0 to 1000")

    @property
    def scheme(self) -> str:
        """`rtsp`, `http` or `https`; empty for a file."""
        match = _SCHEME.match(self.source)
        return match.group("scheme").lower() if match else ""

    @property
    def name(self) -> str:
        """The source as it may be shown."""
        return redacted(self.source)

    def __repr__(self) -> str:
        return f"VideoSettings(source={self.name!r})"
