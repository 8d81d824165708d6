"""What the upload is told."""

from __future__ import annotations

import re
from typing import Dict

import msgspec

from edge_agent.config import Settings
from edge_agent.rule import RuleSettings

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# What S3 calls safe, and what names of things have.
_PREFIX_PART = re.compile(r"[A-Za-z0-9!_.*'():={}-]+")
# S3 takes 1024 bytes; names of images have at most 120, a thing's 128.
_MAX_PREFIX = 512
_MIN_RATE = 1000


class UploadSettings(Settings, frozen=True):
    """Where to in S3, and what.

    Attributes:
        bucket: its name; empty: nothing is uploaded.
        prefix: of all keys; `{thing}` stands for the thing's name.
        region: of the bucket; empty: as boto3 finds it (AWS_DEFAULT_REGION, which a nucleus sets).
        rules: by name: an image is uploaded when its part meets one of them, a command asked for it, or a person reviewed
            it; without any rule, every image is.
        bytes_per_s: at most so many on average, at least 1000; 0: as fast as it goes.
        timeout_s: seconds that S3 may be silent, 1 to 300.
    """

    bucket: str = ""
    prefix: str = "edge-agent/{thing}"
    region: str = ""
    rules: Dict[str, RuleSettings] = msgspec.field(default_factory=dict)
    bytes_per_s: int = 0
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if self.bucket and not _BUCKET.fullmatch(self.bucket):
            raise ValueError("`bucket` must be a bucket's name: 3 to 63 of a to z, 0 to 9, dots and hyphens")
        parts = self.prefix.split("/") if self.prefix else []
        if len(self.prefix) > _MAX_PREFIX or not all(_PREFIX_PART.fullmatch(part) for part in parts):
            raise ValueError(f"`prefix` must be names with / between them, at most {_MAX_PREFIX} characters together")
        if any(part in (".", "..") for part in parts):
            raise ValueError("`prefix` must not hold . or .. as a name")
        if self.bytes_per_s and self.bytes_per_s < _MIN_RATE:
            raise ValueError(f"`bytes_per_s` must be 0, or at least {_MIN_RATE}")
        if not 1 <= self.timeout_s <= 300:
            raise ValueError("`timeout_s` must be 1 to 300")
