"""Names of the recorder's files, below its directory.

    20261121/14/20261121T140530.123456Z_<lane>_<sequence>.jpg      or .png
    20261121/14/20261121T140530.123456Z_<lane>_<sequence>.json     its sidecar
    20261121/14/20261121T140530.123456Z_<lane>_<sequence>.mask     a PNG, which no camera takes for a picture of a part

By the time of capture, UTC. A reference is an image's path relative to the directory, where its manifest lies, too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from edge_agent.inspection import Inspection, iso, wall_ns_of

#: Ours, and nothing else below the directory, is counted and removed.
NAME = re.compile(r"(?P<time>\d{8}T\d{6}\.\d{6}Z)_(?P<lane>[A-Za-z0-9_.-]{1,64})_\d+\.(?P<kind>jpg|png|json|mask)")
DAY, HOUR = re.compile(r"\d{8}"), re.compile(r"\d{2}")

#: What is being written: a kill leaves it, and the next opening deletes it.
DRAFT_MASK, DRAFT_SIDECAR = ".draft.mask", ".sidecar"
DRAFTS = (".draft.jpg", ".draft.png", DRAFT_MASK, DRAFT_SIDECAR)


class Kept(NamedTuple):
    """One recorded image: wall clock of capture in nanoseconds since 1970-01-01 UTC, bytes with its mask's and sidecar's."""

    captured_at_ns: int
    lane: str
    reference: str
    bytes: int
    is_anomalous: bool


def reference_of(inspection: Inspection, suffix: str) -> str:
    """The reference of the image of an inspection."""
    stamp = iso(inspection.captured_at_ns).replace("-", "").replace(":", "")
    return f"{stamp[:8]}/{stamp[9:11]}/{stamp}_{inspection.camera}_{inspection.sequence}{suffix}"


def reference_named(stem: str, suffix: str) -> str:
    """The reference of the image whose file has that name, without its ending."""
    return f"{stem[:8]}/{stem[9:11]}/{stem}{suffix}"


def beside(reference: str, suffix: str) -> str:
    """The reference of what belongs to an image."""
    return reference[: reference.rindex(".")] + suffix


def wall_ns(stamp: str) -> int:
    """Of the time in a file's name."""
    day, clock = stamp[:8], stamp[9:]
    return wall_ns_of(f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}")
