"""The deployed models: those of a directory (each sub-directory with a manifest.json, each zip), and Greengrass's."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

from edge_agent.contract import Performance
from edge_agent.errors import ModelError
from edge_agent.model import Manifest, read_manifest
from edge_agent.server.artifacts import ComponentArtifacts

_Stamp = Tuple[int, int, int]


class ModelIdentity(NamedTuple):
    """What a package says of itself. `version` is None where neither it nor its component says one."""

    version: Optional[str]
    arn: str
    autostart: bool = False
    performance: Optional[Performance] = None


class DeployedModel(NamedTuple):
    """One package as it lies there. `component_version` is its Greengrass component's, None elsewhere."""

    component: str
    path: Path
    identity: ModelIdentity
    component_version: Optional[str] = None


class ModelStore:
    """Looks anew at each question, so that a package copied in later is found.

    Args:
        directory: of packages; None for none.
        greengrass: root of a Greengrass nucleus whose components' artifacts are searched, too; None for none.
    """

    def __init__(self, directory: Optional[Path], greengrass: Optional[Path] = None) -> None:
        self._directory = directory
        self._artifacts = ComponentArtifacts(greengrass) if greengrass else None
        self._identities: Dict[Path, Tuple[_Stamp, ModelIdentity]] = {}
        self._lock = threading.Lock()

    def find(self, component: str) -> Optional[DeployedModel]:
        path = self._scan().get(component)
        return None if path is None else self._deployed(component, path)

    def deployed(self) -> Dict[str, DeployedModel]:
        """Every package by its model component, in the order of their names."""
        paths = self._scan()
        with self._lock:
            self._identities = {path: self._identities[path] for path in paths.values() if path in self._identities}
        return {component: self._deployed(component, path) for component, path in sorted(paths.items())}

    def _scan(self) -> Dict[str, Path]:
        """Path of each package by model component. What lies in the directory goes before what Greengrass brought."""
        packages = {} if self._artifacts is None else self._artifacts.scan()
        if self._directory is not None:
            packages.update(_scan_directory(self._directory))
        return packages

    def _deployed(self, component: str, path: Path) -> DeployedModel:
        version = None if self._artifacts is None else self._artifacts.version_of(path)
        return DeployedModel(component, path, self._identify(component, path, version), version)

    def _identify(self, component: str, path: Path, component_version: Optional[str]) -> ModelIdentity:
        """Version and ARN of a package; a broken one has its component's version."""
        file = path / "manifest.json" if path.is_dir() else path
        try:
            status = file.stat()
        except OSError:
            return identity_of(component, None, None)
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        with self._lock:
            known = self._identities.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            manifest = read_manifest(path)
        except ModelError:
            identity = identity_of(component, component_version, None)  # StartModel will say what is wrong
        else:
            identity = identity_in(manifest, component, component_version)
        with self._lock:
            self._identities[path] = (stamp, identity)
        return identity


def _scan_directory(directory: Path) -> Dict[str, Path]:
    """By the directory's name, or the zip's without `.zip`.

    A directory goes before a zip of the same name; names that begin with a dot are passed over.
    """
    packages: Dict[str, Path] = {}
    try:
        entries = sorted(directory.iterdir(), reverse=True)
    except OSError:
        return packages  # the directory went away: no models, until it is back
    for entry in entries:
        if entry.name.startswith("."):
            continue
        # Not Path.is_dir and Path.exists: they raise where an entry's directory may not be searched.
        if os.path.isdir(entry):  # noqa: PTH112 - see above
            if os.path.exists(entry / "manifest.json"):  # noqa: PTH110 - see above
                packages[entry.name] = entry
        elif entry.suffix == ".zip":
            packages.setdefault(entry.stem, entry)
    return packages


def identity_in(manifest: Manifest, component: str, component_version: Optional[str]) -> ModelIdentity:
    """What a manifest says; the component's version where it says none."""
    about = manifest.package
    return identity_of(component, about.version or component_version, about.model_arn)._replace(
        autostart=about.autostart, performance=manifest.held_out_performance
    )


def identity_of(component: str, version: Optional[str], arn: Optional[str]) -> ModelIdentity:
    """The package's own ARN, or one of the service's shape; version 0 stands for a package that says none."""
    return ModelIdentity(version, arn or f"arn:aws:lookoutvision:::model/{component}/{version or 0}")
