"""What the recorder is told."""

from __future__ import annotations

from typing import Dict, Literal, Tuple

import msgspec

from edge_agent.config import Settings
from edge_agent.recorder.upload.settings import UploadSettings
from edge_agent.rule import RuleSettings

_MAX_QUEUE = 1000
_MIN_BYTES = 1_000_000


class RecorderSettings(Settings, frozen=True):
    """Images that are kept.

    Attributes:
        path: the directory for them, of this inspector alone; empty: nothing is recorded.
        rules: by name: a part that meets one of them is recorded.
        every: every so many-th part of a lane is recorded, too; 0: none.
        lanes: the lanes that are recorded; an empty list: all.
        format: `jpeg` or `png`, which loses nothing and takes five to twenty times as long.
        quality: of JPEG, 1 to 100.
        masks: whether the mask of an anomalous part is kept beside its image, as a label of its pixels.
        bytes: of all images, masks and sidecars together at most, at least 1000000.
        days: after so many an image goes; 0: never.
        free_bytes: are left free on the disk.
        queue: images that may wait to be written, 1 to 1000, each with its pixels in memory.
        upload: to S3, of what is recorded.
    """

    path: str = ""
    rules: Dict[str, RuleSettings] = msgspec.field(default_factory=dict)
    every: int = 0
    lanes: Tuple[str, ...] = ()
    format: Literal["jpeg", "png"] = "jpeg"
    quality: int = 95
    masks: bool = True
    bytes: int = 5_000_000_000
    days: float = 0.0
    free_bytes: int = 500_000_000
    queue: int = 8
    upload: UploadSettings = msgspec.field(default_factory=UploadSettings)

    def __post_init__(self) -> None:
        if self.every < 0 or self.days < 0 or self.free_bytes < 0:
            raise ValueError("`every`, `days` and `free_bytes` must be 0 or more")
        if not 1 <= self.quality <= 100:
            raise ValueError("`quality` must be 1 to 100")
        if self.bytes < _MIN_BYTES:
            raise ValueError(f"`bytes` must be at least {_MIN_BYTES}")
        if not 1 <= self.queue <= _MAX_QUEUE:
            raise ValueError(f"`queue` must be 1 to {_MAX_QUEUE}")
        if self.upload.bucket and not self.path:
            raise ValueError("`upload` needs a `path`: images go to the disk first")
