"""The objects of one image in S3: the image, its mask, its sidecar, and last its line of a manifest.

    <prefix>/20261121/14/20261121T140530.123456Z_<lane>_<sequence>.jpg, .mask, .json, .manifest

The line's references are places in S3. It goes last: what a line in the bucket names is there, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Optional, Union

from edge_agent.recorder.manifest import manifest_of
from edge_agent.recorder.names import beside
from edge_agent.recorder.upload.queue import Waiting

_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".mask": "image/png", ".json": "application/json"}


class Object(NamedTuple):
    """A key, and what is there: a file, or bytes."""

    key: str
    content: Union[Path, bytes]
    type: str


def objects_of(root: Path, reference: str, line: Dict[str, Any], bucket: str, prefix: str) -> Iterator[Object]:
    """In the order in which they must go."""
    base = f"{prefix}/" if prefix else ""
    mask, sidecar = beside(reference, ".mask"), beside(reference, ".json")
    for one in (reference, *([mask] if (root / mask).exists() else []), sidecar):
        yield Object(base + one, root / one, _TYPES[one[one.rindex(".") :]])
    # Whatever names a file of this image does so in S3; all else in the line stays.
    placed = {
        key: f"s3://{bucket}/{base}{value}" if value in (reference, mask) else value for key, value in line.items()
    }
    content = json.dumps(placed, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
    yield Object(base + beside(reference, ".manifest"), content, "application/json")


def line_in(text: bytes, root: Path, waiting: Waiting) -> Optional[Dict[str, Any]]:
    """An image's line out of the text of its file in the queue, or, where a power cut tore that, out of the lane's manifest;
    None: it is in neither.

    Raises:
        OSError: the manifest cannot be read.
    """
    line = _decoded(text, waiting.reference)
    if line is None:
        manifest = manifest_of(root, waiting.lane)
        place = manifest.find(waiting.reference)
        found = None if place is None else manifest.line(waiting.reference, place)
        line = None if found is None else _decoded(found, waiting.reference)
    return line


def _decoded(text: bytes, reference: str) -> Optional[Dict[str, Any]]:
    """A line, if it is that of the image."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and line.get("source-ref") == reference else None
