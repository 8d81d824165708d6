"""The models of a directory: each sub-directory with a manifest.json, and each zip."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

from edge_agent.errors import ModelError
from edge_agent.model import read_manifest

_Stamp = Tuple[int, int, int]


class ModelIdentity(NamedTuple):
    """What a package says of itself. `version` is None where it says none."""

    version: Optional[str]
    arn: str


class ModelStore:
    """Looks anew at each question, so that a package copied in later is found."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._identities: Dict[Path, Tuple[_Stamp, ModelIdentity]] = {}
        self._lock = threading.Lock()

    def scan(self) -> Dict[str, Path]:
        """Path of each package by model component: the directory's name, or the zip's without `.zip`.

        A directory goes before a zip of the same name; names that begin with a dot are passed over.
        """
        packages: Dict[str, Path] = {}
        try:
            entries = sorted(self._directory.iterdir(), reverse=True)
        except OSError:
            return packages  # the directory went away: no models, until it is back
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if (entry / "manifest.json").exists():
                    packages[entry.name] = entry
            elif entry.suffix == ".zip":
                packages.setdefault(entry.stem, entry)
        return packages

    def find(self, component: str) -> Optional[Path]:
        return self.scan().get(component)

    def identify(self, component: str, path: Path) -> ModelIdentity:
        """Version and ARN of a package; a broken one has no version."""
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
            about = read_manifest(path).package
        except ModelError:
            identity = identity_of(component, None, None)  # StartModel will say what is wrong
        else:
            identity = identity_of(component, about.version, about.model_arn)
        with self._lock:
            self._identities[path] = (stamp, identity)
        return identity


def identity_of(component: str, version: Optional[str], arn: Optional[str]) -> ModelIdentity:
    """The package's own ARN, or one of the service's shape; version 0 stands for a package that says none."""
    return ModelIdentity(version, arn or f"arn:aws:lookoutvision:::model/{component}/{version or 0}")
