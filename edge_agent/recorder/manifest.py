"""The manifest of a lane's images: SageMaker Ground Truth's, one JSON object a line, as training and replay read it."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, Mapping, NamedTuple, Optional

from edge_agent.recorder.choice import Label, Wanted

#: Names of the image's label, which is 0 or 1, and of what is said about it.
LABEL = "anomaly-label"
METADATA = f"{LABEL}-metadata"
MASK = "anomaly-mask-ref"

# Read and written at once.
_BLOCK = 1024 * 1024

# How a reference stands in a line without escapes; ours are ASCII, and each line of ours begins with it.
_REFERENCES = re.compile(rb'"source-ref"\s*:\s*"([^"\\]*)"')
_FIRST = re.compile(rb'\s*\{\s*"source-ref"\s*:\s*"([^"\\]*)"')

#: By reference, the line that stands in place of an image's; None: it goes.
Edits = Mapping[str, Optional[bytes]]


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
        LABEL: int(name == "anomaly"),
        METADATA: {
            "class-name": name,
            "confidence": 1.0 if wanted.label else inspection["confidence"],
            "human-annotated": "yes" if wanted.label else "no",
            **made,
            "type": "groundtruth/image-classification",
        },
    }
    if mask:
        line[MASK] = mask
        line[f"{MASK}-metadata"] = {
            "internal-color-map": {
                str(index): {"class-name": anomaly["name"], "hex-color": anomaly["hex_color"]}
                for index, anomaly in enumerate(inspection["anomalies"])
            },
            "human-annotated": "no",
            **made,
            "type": "groundtruth/semantic-segmentation",
        }
    line["recorded-for"] = wanted.reason
    return encode_line(line)


def encode_line(document: Mapping[str, Any]) -> bytes:
    """A line as we write it."""
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


class Entry(NamedTuple):
    """What a line says: the image, and whether it shows an anomaly."""

    reference: str
    is_anomalous: bool


class Listed(NamedTuple):
    """Where an image is listed: lane, and `place` of its line in the manifest when it was looked for."""

    lane: str
    reference: str
    place: int


class Manifest:
    """One file, which others may read at any time and a person may edit while nothing is recorded.

    All methods raise OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def mend(self) -> None:
        """Cut off a last line that a kill or a full disk has torn."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        if content and not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)

    def lines(self) -> Iterator[bytes]:
        """Whole ones, with their ends, as they are when this begins; none where there is no file."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                yield line

    def entries(self) -> Iterator[Entry]:
        """Of each line that names an image; lines of other forms are a person's own."""
        for line in self.lines():
            entry = entry_of(line)
            if entry is not None:
                yield entry

    def find(self, reference: str) -> Optional[int]:
        """Where the line of an image begins; None where it is not listed. Of a large file this reads up to all."""
        needle = f'"{reference}"'.encode()
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return None
        place = 0
        with file:
            for block in _blocks(file):
                if needle not in block:
                    place += len(block)
                    continue
                for line in block.splitlines(keepends=True):
                    if needle in line and reference_in(line) == reference:
                        return place
                    place += len(line)
        return None

    def line(self, reference: str, place: int) -> Optional[bytes]:
        """The line of an image, which began at `place` when it was looked for; None where it is not listed any more."""
        line = self._line_at(place)
        if reference_in(line) != reference:  # the file was written anew since
            found = self.find(reference)
            line = b"" if found is None else self._line_at(found)
        return line if reference_in(line) == reference else None

    def _line_at(self, place: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, place - 1))
                begins = place == 0 or file.read(1) == b"\n"
                return file.readline() if begins else b""
        except FileNotFoundError:
            return b""

    def append(self, line: bytes, *, durably: bool = False) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            if os.write(descriptor, line) != len(line):
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, "No space left on device")  # what a short write to a file means
            if durably:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rewrite(self, edits: Edits) -> None:
        """Exchange or leave out the lines of these images; what else is there stays as it is.

        The new file is on disk before it takes the old one's name.
        """
        draft = self.draft(edits, "new")
        if draft is not None:
            draft.finish()

    def draft(self, edits: Edits, name: str) -> Optional[RewriteDraft]:
        """The long part of a rewrite, which may be done while others append; None where there is no file.

        Args:
            edits: the lines.
            name: of the draft, so that there may be several.
        """
        try:
            old = self.path.open("rb")
        except FileNotFoundError:
            return None  # a person took it away
        beside = self.path.with_name(f".{self.path.name}.{name}")
        known = {reference.encode() for reference in edits}
        read = 0
        with old, beside.open("wb") as new:
            for block in _blocks(old):
                new.write(_edited(block, edits, known))
                read += len(block)
            new.flush()
            os.fsync(new.fileno())
            return RewriteDraft(self.path, beside, os.fstat(old.fileno()).st_ino, read)


class RewriteDraft(NamedTuple):
    """A manifest written anew under a name of its own.

    `read` bytes of the old file, that had the number `inode`, are in it.
    """

    path: Path
    beside: Path
    inode: int
    read: int

    def finish(self) -> bool:
        """Add what was appended meanwhile, and take the old file's place; false where that is another file by now."""
        try:
            old = self.path.open("rb")
        except FileNotFoundError:
            return False
        with old:
            if os.fstat(old.fileno()).st_ino != self.inode:
                return False
            old.seek(self.read)
            rest = old.read()
        if rest:
            with self.beside.open("ab") as new:
                new.write(rest)
                new.flush()
                os.fsync(new.fileno())
        self.beside.rename(self.path)
        sync_directory(self.path.parent)
        return True


def manifest_of(root: Path, lane: str) -> Manifest:
    """The manifest of a lane in the recorder's directory."""
    return Manifest(root / f"{lane}.manifest")


def sync_directory(directory: Path) -> None:
    """Have the names of the files in it on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reference_in(line: bytes) -> Optional[str]:
    """The image that a line names; None where it names none."""
    first = _FIRST.match(line)
    if first is not None:
        return first.group(1).decode("utf-8", "replace")
    entry = entry_of(line)
    return None if entry is None else entry.reference


def entry_of(line: bytes) -> Optional[Entry]:
    """What a line says; None where it is of another form."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    reference = document.get("source-ref") if isinstance(document, dict) else None
    if not isinstance(reference, str):
        return None
    metadata = document.get(METADATA)
    name = metadata.get("class-name") if isinstance(metadata, dict) else None
    return Entry(reference, name == "anomaly" or (name != "normal" and document.get(LABEL) == 1))


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """The file in pieces of about a megabyte, each of whole lines.

    It ends before a last line that is torn: that may be in the middle of being appended.
    """
    while True:
        block = file.read(_BLOCK)
        if block and not block.endswith(b"\n"):
            block += file.readline()
        if not block.endswith(b"\n"):
            block = block[: block.rfind(b"\n") + 1]
            if block:
                yield block
            return
        yield block


def _edited(block: bytes, edits: Edits, known: "set[bytes]") -> bytes:
    # Most blocks of a large file are of no line that changes.
    if b"\\" not in block and known.isdisjoint(_REFERENCES.findall(block)):
        return block
    return b"".join(_edited_line(line, edits) for line in block.splitlines(keepends=True))


def _edited_line(line: bytes, edits: Edits) -> bytes:
    reference = reference_in(line)
    if reference is None or reference not in edits:
        return line
    return edits[reference] or b""
