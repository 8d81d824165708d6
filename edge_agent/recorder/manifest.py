"""The manifest of a lane's images: SageMaker Ground Truth's, one JSON object a line, as training and replay read it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, Collection, Dict, Iterator, Mapping, NamedTuple, Optional

from edge_agent.recorder.choice import Label, Wanted

_LABEL = "anomaly-label"
_METADATA = f"{_LABEL}-metadata"
_MASK = "anomaly-mask-ref"


def manifest_line(reference: str, inspection: Mapping[str, Any], wanted: Wanted, mask: str = "") -> bytes:
    """One line.

    Args:
        reference: the image, relative to the manifest's directory.
        inspection: of it, in its published form. Its verdict is the label, which says that a machine gave it.
        wanted: why it was recorded; a person's label goes before the verdict.
        mask: the image's mask, relative to the same directory; empty: there is none.
    """
    name: Label = wanted.label or ("anomaly" if inspection["is_anomalous"] else "normal")
    made = {
        "creation-date": inspection["captured_at"][:-1],
        "job-name": f"edge-agent/{inspection['model']['component']}",
    }
    line: Dict[str, Any] = {
        "source-ref": reference,
        _LABEL: int(name == "anomaly"),
        _METADATA: {
            "class-name": name,
            "confidence": 1.0 if wanted.label else inspection["confidence"],
            "human-annotated": "yes" if wanted.label else "no",
            **made,
            "type": "groundtruth/image-classification",
        },
    }
    if mask:
        line[_MASK] = mask
        line[f"{_MASK}-metadata"] = {
            "internal-color-map": {
                str(index): {"class-name": anomaly["name"], "hex-color": anomaly["hex_color"]}
                for index, anomaly in enumerate(inspection["anomalies"])
            },
            "human-annotated": "no",
            **made,
            "type": "groundtruth/semantic-segmentation",
        }
    line["recorded-for"] = wanted.reason
    return json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


class Entry(NamedTuple):
    """What a line says: the image, and whether it shows an anomaly."""

    reference: str
    is_anomalous: bool


class Manifest:
    """One file, which others may read at any time and a person may edit while nothing is recorded.

    All methods raise OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def mend(self) -> None:
        """Cut off a last line that a kill or a full disk has torn."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        if content and not content.endswith(b"\n"):
            os.truncate(self._path, content.rfind(b"\n") + 1)

    def entries(self) -> Iterator[Entry]:
        """Of each line that names an image; lines of other forms are a person's own."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            entry = _entry(line)
            if entry is not None:
                yield entry

    def append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            if os.write(descriptor, line) != len(line):
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, "No space left on device")  # what a short write to a file means
        finally:
            os.close(descriptor)

    def drop(self, references: Collection[str]) -> None:
        """Leave out the lines of these images; what else is there stays as it is. The new file is there at once."""
        try:
            lines = self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return  # a person took it away
        left = [line for line in lines if _reference(line) not in references]
        beside = self._path.with_name(f".{self._path.name}.new")
        beside.write_bytes(b"".join(left))
        beside.rename(self._path)


def manifest_of(root: Path, lane: str) -> Manifest:
    """The manifest of a lane in the recorder's directory."""
    return Manifest(root / f"{lane}.manifest")


def _reference(line: bytes) -> Optional[str]:
    entry = _entry(line)
    return None if entry is None else entry.reference


def _entry(line: bytes) -> Optional[Entry]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    reference = document.get("source-ref") if isinstance(document, dict) else None
    if not isinstance(reference, str):
        return None
    metadata = document.get(_METADATA)
    name = metadata.get("class-name") if isinstance(metadata, dict) else None
    return Entry(reference, name == "anomaly" or (name != "normal" and document.get(_LABEL) == 1))
