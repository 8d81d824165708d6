"""Every model component: those in the store, and those that are loaded though their package is gone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Dict, List, NamedTuple

import grpc

from edge_agent.server.refusal import Refusal, invalid
from edge_agent.server.slot import ModelSlot, SlotState
from edge_agent.server.store import ModelStore, identity_of
from edge_agent.wire.edge_agent_pb2 import FAILED, STOPPED

# States in which a component is nothing but its package.
_UNLOADED = (STOPPED, FAILED)


class ModelDescription(NamedTuple):
    component: str
    arn: str
    state: SlotState


class ModelRegistry:
    """Finds the slot of a component; safe to use from any thread."""

    def __init__(self, models: Path, *, threads: int) -> None:
        self._store = ModelStore(models)
        self._threads = threads
        self._slots: Dict[str, ModelSlot] = {}
        self._lock = threading.Lock()

    def slot(self, component: str) -> ModelSlot:
        """The slot of a deployed or loaded component.

        Raises:
            Refusal: INVALID_ARGUMENT for an empty name, NOT_FOUND for an unknown one.
        """
        if not component:
            raise invalid("model_component: is empty")
        with self._lock:
            slot = self._slots.get(component)
        # A model that is loaded needs no package any more: that call is the fast one.
        if slot is not None and slot.state().status not in _UNLOADED:
            return slot
        self.path(component)
        with self._lock:
            return self._slots.setdefault(component, ModelSlot(component, threads=self._threads))

    def path(self, component: str) -> Path:
        """Where the package lies.

        Raises:
            Refusal: NOT_FOUND.
        """
        path = self._store.find(component)
        if path is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"{component}: no model component of this name is deployed")
        return path

    def describe(self, component: str) -> ModelDescription:
        """One component; raises as `slot` does."""
        slot = self.slot(component)
        return self._describe(slot, self._store.scan())

    def list(self) -> List[ModelDescription]:
        """Every component, by name."""
        packages = self._store.scan()
        with self._lock:
            for component in packages:
                self._slots.setdefault(component, ModelSlot(component, threads=self._threads))
            slots = sorted(self._slots.values(), key=lambda slot: slot.component)
        described = [self._describe(slot, packages) for slot in slots]
        return [model for model in described if model.component in packages or model.state.status not in _UNLOADED]

    def close(self, timeout: float) -> None:
        with self._lock:
            slots = list(self._slots.values())
        for slot in slots:
            slot.close(timeout)

    def _describe(self, slot: ModelSlot, packages: Dict[str, Path]) -> ModelDescription:
        path = packages.get(slot.component)
        state = slot.state()
        if path is not None:
            identity = self._store.identify(slot.component, path)
        else:
            identity = identity_of(slot.component, state.version, None)
        return ModelDescription(slot.component, identity.arn, state)
