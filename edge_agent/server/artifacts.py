"""Models among the unarchived artifacts of Greengrass components.

A nucleus unpacks the zip of a component to `<root>/packages/artifacts-unarchived/<component>/<version>/<zip's name>/`,
and keeps a few versions beside one another. Which of them is deployed is written in places of its own that differ from
nucleus to nucleus; the newest is the portable answer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import msgspec

from edge_agent.model.manifest import MAX_MANIFEST_BYTES

_MANIFEST = "manifest.json"

# Below a version: the zip's directory, and perhaps one single top directory in it. Other components have large trees.
_MAX_DEPTH = 3
_MAX_DIRECTORIES = 200

_VERSION = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")

_Stamp = Tuple[int, int, int]


class ComponentArtifacts:
    """Looks anew at each question, so that what a deployment brings is found.

    Args:
        root: the nucleus's root, such as /greengrass/v2.
    """

    def __init__(self, root: Path) -> None:
        self._directory = root / "packages" / "artifacts-unarchived"
        self._known: Dict[Path, Tuple[_Stamp, bool]] = {}

    def scan(self) -> Dict[str, Path]:
        """Directory of the newest package by model component. Components that are no models are passed over."""
        packages = {}
        for component in _directories(self._directory):
            package = self._newest(component)
            if package is not None:
                packages[component.name] = package
        return packages

    def version_of(self, path: Path) -> Optional[str]:
        """The component's version, for a path that `scan` gave; else None."""
        try:
            return path.relative_to(self._directory).parts[1]
        except (ValueError, IndexError):
            return None

    def _newest(self, component: Path) -> Optional[Path]:
        versions = [(precedence(version.name), version) for version in _directories(component)]
        for _, version in sorted(((key, path) for key, path in versions if key), reverse=True):
            package = self._package_in(version)
            if package is not None:
                return package
        return None

    def _package_in(self, version: Path) -> Optional[Path]:
        """The manifest that lies highest, the first by name among equals."""
        level, looked_at = [version], 0
        for _ in range(1 + _MAX_DEPTH):
            for directory in level:
                looked_at += 1
                if self._is_model(directory / _MANIFEST):
                    return directory
                if looked_at >= _MAX_DIRECTORIES:
                    return None
            level = [child for directory in level for child in _directories(directory)]
        return None

    def _is_model(self, manifest: Path) -> bool:
        try:
            status = manifest.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._known.get(manifest)
            if known is None or known[0] != stamp:
                known = self._known[manifest] = (stamp, _describes_a_model(manifest))
        except OSError:
            return False
        return known[1]


def precedence(version: str) -> Optional[Tuple[object, ...]]:
    """What versions are sorted by, as semver.org has it; None for what is no version."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return None
    numbers = tuple(int(number) for number in match.groups()[:3])
    if match.group(4) is None:
        return (*numbers, 1, ())
    # A pre-release comes before its release; its numbers are compared as numbers and come before its words.
    parts = match.group(4).split(".")
    return (*numbers, 0, tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts))


def _describes_a_model(manifest: Path) -> bool:
    """Many programs have a manifest.json. One that is torn counts: StartModel will say what is wrong."""
    with manifest.open("rb") as stream:
        data = stream.read(MAX_MANIFEST_BYTES + 1)
    try:
        return "model_graph" in msgspec.json.decode(data, type=Dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return False
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True


def _directories(directory: Path) -> List[Path]:
    """By name, without links and hidden ones; none where it cannot be read."""
    try:
        return sorted(
            entry for entry in directory.iterdir() if entry.is_dir() and not (entry.is_symlink() or _is_hidden(entry))
        )
    except OSError:
        return []


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")
