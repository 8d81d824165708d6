"""A camera named in one word on a command line, as the settings that a configuration file would have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, cast

from edge_agent.cameras.kinds import CameraSettings
from edge_agent.cameras.redact import redacted
from edge_agent.config import convert

_STREAM = re.compile(r"(rtsps?|https?)://", re.IGNORECASE)
_DEVICE = re.compile(r"/dev/(video\d+|v4l/.+)")

# Words of ours that begin with the kind: the key that what follows the colon is for.
_OWN = {"genicam": "device", "gstreamer": "pipeline", "replay": "path", "sample": "seed"}

#: What a word may be, for the help of a command.
FORMS = (
    "a stream's URL, a video file, a directory, /dev/videoN, a GenICam camera's serial number, IP or name, or sample:"
)


def settings_for(target: str) -> CameraSettings:
    """The settings that the word means; all else as it is by default.

    A kind and a colon before the word choose the kind: `genicam:WORD`, `gstreamer:PIPELINE`, `replay:DIRECTORY`,
    `sample:SEED`.

    Raises:
        ConfigError: settings that the kind of camera refuses.
    """
    # The type of a union of classes is not a type to the checker.
    return cast("CameraSettings", convert(_data(target), CameraSettings, f"camera {redacted(target)}"))  # type: ignore[arg-type]


def _data(target: str) -> Dict[str, Any]:
    scheme, _, rest = target.partition(":")
    data: Dict[str, Any]
    if scheme in _OWN:
        data = {"type": scheme, **({_OWN[scheme]: rest} if rest else {})}
    elif _STREAM.match(target):
        data = {"type": "video", "source": target}
    elif _DEVICE.fullmatch(target):
        data = {"type": "v4l2", "device": target}
    elif Path(target).is_dir():
        data = {"type": "folder", "path": target, "watch": False}
    elif Path(target).is_file() or "/" in target:
        data = {"type": "video", "source": target}
    else:
        data = {"type": "genicam", "device": target}
    return data
