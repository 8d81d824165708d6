"""What is in the recorder's directory when it is opened; what a kill or a power cut left is put right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Set

from edge_agent.recorder.choice import Wanted
from edge_agent.recorder.journal import ReviewJournal
from edge_agent.recorder.manifest import Entry, Manifest, manifest_line, manifest_of
from edge_agent.recorder.names import DAY, DRAFTS, HOUR, NAME, Kept, beside, wall_ns
from edge_agent.recorder.sidecar import read_sidecar


def look_through(root: Path) -> List[Kept]:
    """Every whole image, the oldest first; each is listed then, and nothing else of ours is there or listed.

    Raises:
        OSError: the directory cannot be used.
    """
    listed = _listed(root)
    found: List[Kept] = []
    for directory in _directories(root):
        found += _found_in(root, directory, listed)
    for lane, entries in listed.items():
        # Listed, and not there any more. What else is listed is a person's own.
        missing = {reference for reference in entries if NAME.fullmatch(reference.rpartition("/")[2])}
        if missing:
            manifest_of(root, lane).rewrite(dict.fromkeys(missing))
    return sorted(found)


def _listed(root: Path) -> Dict[str, Dict[str, Entry]]:
    """By lane and reference, of all manifests."""
    listed: Dict[str, Dict[str, Entry]] = {}
    for draft in root.glob(".*.manifest.*"):
        draft.unlink()
    for path in root.glob("*.manifest"):
        manifest = Manifest(path)
        manifest.mend()
        ReviewJournal(root, path.name[: -len(".manifest")]).fold()
        listed[path.name[: -len(".manifest")]] = {entry.reference: entry for entry in manifest.entries()}
    return listed


def _directories(root: Path) -> Iterator[Path]:
    for day in sorted(root.iterdir()):
        if DAY.fullmatch(day.name) and day.is_dir():
            yield from (hour for hour in sorted(day.iterdir()) if HOUR.fullmatch(hour.name) and hour.is_dir())


def _found_in(root: Path, directory: Path, listed: Dict[str, Dict[str, Entry]]) -> Iterator[Kept]:
    """What is whole; each is taken out of `listed`. What is not whole is deleted."""
    with os.scandir(directory) as entries:
        ours = {
            entry.name: entry.stat().st_size for entry in entries if NAME.fullmatch(entry.name) or entry.name in DRAFTS
        }
    whole: Set[str] = set()
    for name, size in sorted(ours.items()):
        match = NAME.fullmatch(name)
        if match is None or match.group("kind") not in ("jpg", "png"):
            continue
        stem = name[: name.rindex(".")]
        sidecar, mask = f"{stem}.json", f"{stem}.mask"
        reference, lane = f"{directory.parent.name}/{directory.name}/{name}", match.group("lane")
        # A power cut leaves empty files.
        if not size or not ours.get(sidecar) or ours.get(mask) == 0:
            continue
        entry = listed.get(lane, {}).pop(reference, None) or _adopt(root, directory / sidecar, lane, reference)
        if entry is not None:
            whole.update((name, sidecar, mask))
            together = size + ours[sidecar] + ours.get(mask, 0)
            yield Kept(wall_ns(match.group("time")), lane, reference, together, entry.is_anomalous)
    for name in ours:
        if name not in whole:
            (directory / name).unlink()


def _adopt(root: Path, sidecar: Path, lane: str, reference: str) -> Optional[Entry]:
    """List an image that was written and is not listed; None where its sidecar is torn."""
    try:
        inspection = read_sidecar(sidecar)
        mask = beside(reference, ".mask")
        has_mask = (root / mask).exists()
        line = manifest_line(reference, inspection, Wanted("found"), mask if has_mask else "")
    except (ValueError, KeyError, TypeError):
        return None
    manifest_of(root, lane).append(line)
    return Entry(reference, bool(inspection["is_anomalous"]))
