"""Packages that come and change while the server runs: some are started, and those that run are replaced."""

from __future__ import annotations

import logging
from typing import Dict, Iterable

import grpc

from edge_agent.outage import Outage
from edge_agent.server.fingerprint import Fingerprint, fingerprint_of
from edge_agent.server.refusal import Refusal
from edge_agent.server.registry import ModelRegistry
from edge_agent.server.slot import NOT_SERVED
from edge_agent.server.store import DeployedModel
from edge_agent.wire.edge_agent_pb2 import FAILED, RUNNING, STOPPED

_log = logging.getLogger(__name__)


class PackageWatch:
    """Acts once on each package, so that StopModel holds, and what failed is tried again when its files have changed.

    A package that appears or changes may still be on its way: it is acted on when two looks in a row find the same
    files.

    Args:
        registry: of every model.
        autostart: model components to start whatever their manifests say.
        swap: whether a model that runs is replaced when its package is.
    """

    def __init__(self, registry: ModelRegistry, autostart: Iterable[str], *, swap: bool) -> None:
        self._registry = registry
        self._autostart = frozenset(autostart)
        self._swap = swap
        self._seen: Dict[str, Fingerprint] = {}
        self._done: Dict[str, Fingerprint] = {}
        self._shortages: Dict[str, Outage] = {}

    def begin(self) -> None:
        """Start what is there when the server starts."""
        packages = self._registry.deployed()
        for name in sorted(self._autostart - {package.component for package in packages}):
            _log.warning("%s: to be started, but not deployed; it is started when it is", name)
        self._seen = {package.component: fingerprint_of(package.path) for package in packages}
        self.look()

    def look(self) -> None:
        """Act on what has come and is whole."""
        seen = {}
        for package in self._registry.deployed():
            component = package.component
            if self._is_to_start(package) or self._registry.state(component).status == RUNNING:
                seen[component] = fingerprint_of(package.path)
                if self._seen.get(component) == seen[component]:
                    self._settled(package, seen[component])
        self._seen = seen
        self._done = {component: one for component, one in self._done.items() if component in seen}

    def _is_to_start(self, package: DeployedModel) -> bool:
        return package.identity.autostart or package.component in self._autostart

    def _settled(self, package: DeployedModel, fingerprint: Fingerprint) -> None:
        """Bring a model into line with its package."""
        component = package.component
        state = self._registry.state(component)
        if state.status == RUNNING and state.fingerprint == fingerprint:
            self._registry.note(component, "")
            self._done[component] = fingerprint
        elif self._done.get(component) == fingerprint:
            return
        elif state.status == RUNNING:
            self._act(package, fingerprint, swap=True)
        elif state.status in (STOPPED, FAILED) and self._is_to_start(package):
            self._act(package, fingerprint, swap=False)

    def _act(self, package: DeployedModel, fingerprint: Fingerprint, *, swap: bool) -> None:
        component = package.component
        shortage = self._shortages.setdefault(component, Outage(_log, component))
        try:
            if not swap:
                self._registry.start(component)
            elif self._swap:
                self._registry.swap(package, fingerprint)
        except Refusal as refusal:
            # Its state has just changed, or there is no memory for it now: the next look will see.
            if refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED:
                shortage.report(refusal)
                self._registry.note(component, f"{NOT_SERVED}{refusal.details}")
            return
        shortage.over()
        self._done[component] = fingerprint
