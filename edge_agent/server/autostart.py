"""Models that run without being asked: those whose manifest says so, and those named at the start of the server."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Dict, FrozenSet, Iterable, Tuple

from edge_agent.server.refusal import Refusal
from edge_agent.server.registry import ModelRegistry

_Fingerprint = FrozenSet[Tuple[str, int, int]]

_log = logging.getLogger(__name__)


class Autostart:
    """Starts each such package once, so that StopModel holds, and a new version is started again.

    A package that appears while the server runs may still be on its way: it is started when two looks in a row find
    the same files.

    Args:
        registry: of every model.
        names: model components to start whatever their manifests say.
    """

    def __init__(self, registry: ModelRegistry, names: Iterable[str]) -> None:
        self._registry = registry
        self._names = frozenset(names)
        self._seen: Dict[str, _Fingerprint] = {}
        self._started: Dict[str, _Fingerprint] = {}

    def begin(self) -> None:
        """Start what is there when the server starts."""
        self._seen = self._fingerprints()
        for name in sorted(self._names - set(self._seen)):
            _log.warning("%s: to be started, but not deployed; it is started when it is", name)
        self.look()

    def look(self) -> None:
        """Start what has come and is whole."""
        found = self._fingerprints()
        for component, fingerprint in found.items():
            if self._seen.get(component) == fingerprint != self._started.get(component):
                self._start(component)
                self._started[component] = fingerprint
        self._started = {component: one for component, one in self._started.items() if component in found}
        self._seen = found

    def _fingerprints(self) -> Dict[str, _Fingerprint]:
        return {
            model.component: _fingerprint(model.path)
            for model in self._registry.deployed()
            if model.identity.autostart or model.component in self._names
        }

    def _start(self, component: str) -> None:
        try:
            self._registry.start(component)
        except Refusal as refusal:
            # It runs already, or was removed a moment ago.
            _log.info("not started by itself: %s", refusal.details)


def _fingerprint(package: Path) -> _Fingerprint:
    """Which files a package has, of what size and age."""
    files = set()
    names = [package] if package.is_file() else [Path(top, name) for top, _, some in os.walk(package) for name in some]
    for file in names:
        with contextlib.suppress(OSError):
            status = file.stat()
            files.add((str(file), status.st_size, status.st_mtime_ns))
    return frozenset(files)
