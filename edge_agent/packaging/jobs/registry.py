"""The model registry: a directory per project, in it one per model version (docs/packaging.md).

REGISTRY/PROJECT/VERSION/ is a package itself (it has a manifest.json), or holds one: a directory or a zip; or, without
one, a network's file that `edge-agent package` takes as it is: an anomalib export.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import List, NamedTuple

from edge_agent.errors import ConflictError, ResourceNotFoundError
from edge_agent.packaging.jobs.job import MODEL, PROJECT
from edge_agent.packaging.jobs.request import LATEST

_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_MANIFEST = "manifest.json"

#: Suffixes of a network's file, and the directories of images beside it: for its self-test, and to calibrate INT8 by.
NETWORKS = (".onnx", ".xml")
GOLDEN = "golden"
CALIBRATION = "calibration"


class ModelVersion(NamedTuple):
    """A version, never `latest`, and where its package, or its network's file, lies."""

    version: str
    path: Path


class ModelRegistry:
    """Looks anew at each question. Names come checked: they hold no path.

    Args:
        directory: it need not exist; then there is no project.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def has_project(self, project: str) -> bool:
        try:
            return (self.directory / project).is_dir()
        except OSError:  # above it is what may not be searched
            return False

    def find(self, project: str, version: str) -> ModelVersion:
        """What a request names.

        Args:
            project: ProjectName.
            version: ModelVersion; `latest` is the highest.

        Raises:
            ResourceNotFoundError: no such project or version.
            ConflictError: the version has no package, or several.
        """
        if not self.has_project(project):
            raise ResourceNotFoundError(
                f"ProjectName {project}",
                f"is no directory in the model registry {self.directory}",
                "Name the registry with --registry, or put the project there.",
                resource=(PROJECT, project),
            )
        place = self.directory / project
        versions = _versions(place)
        if version == LATEST and versions:
            version = max(versions, key=int)
        if version not in versions:
            raise ResourceNotFoundError(
                f"ModelVersion {version}",
                f"is none of the versions in {place}: {', '.join(sorted(versions, key=int)) or 'it has none'}",
                resource=(MODEL, f"{project}/{version}"),
            )
        return ModelVersion(version, self._model_in(place / version, f"{project}/{version}"))

    def _model_in(self, place: Path, resource: str) -> Path:
        if (place / _MANIFEST).is_file():
            return place
        entries = _entries(place)
        found = [entry for entry in entries if _is_package(entry)] or [
            entry for entry in entries if entry.suffix in NETWORKS and entry.is_file()
        ]
        if len(found) == 1:
            return found[0]
        names = f": {', '.join(entry.name for entry in found[:4])}" if found else ""
        raise ConflictError(
            f"ModelVersion {resource}",
            f"holds {len(found)} models{names}, where a trained one is needed",
            f"Put one package into {place}, such as edge-agent train or edge-agent package writes.",
            resource=(MODEL, resource),
        )


def _versions(place: Path) -> List[str]:
    return [entry.name for entry in _entries(place) if _VERSION.fullmatch(entry.name) and entry.is_dir()]


def _is_package(entry: Path) -> bool:
    return (entry / _MANIFEST).is_file() if entry.is_dir() else entry.suffix == ".zip"


def _entries(place: Path) -> List[Path]:
    """By name; without hidden ones, which are drafts."""
    try:
        return sorted(entry for entry in place.iterdir() if not entry.name.startswith("."))
    except OSError:
        return []
