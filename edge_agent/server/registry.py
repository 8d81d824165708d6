"""Every model component: those in the store, and those that are loaded though their package is gone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import grpc

from edge_agent.model import OnnxOptions
from edge_agent.server.observer import ServerObserver
from edge_agent.server.refusal import Refusal, invalid
from edge_agent.server.slot import ModelSlot, SlotState
from edge_agent.server.store import ModelIdentity, ModelStore, identity_of
from edge_agent.wire.edge_agent_pb2 import FAILED, STOPPED

# States in which a component is nothing but its package.
_UNLOADED = (STOPPED, FAILED)


class ModelDescription(NamedTuple):
    component: str
    arn: str
    state: SlotState


class DeployedModel(NamedTuple):
    component: str
    path: Path
    identity: ModelIdentity


class ModelRegistry:
    """Finds the slot of a component; safe to use from any thread."""

    def __init__(
        self,
        models: Optional[Path],
        *,
        threads: int,
        greengrass: Optional[Path] = None,
        onnx: Optional[OnnxOptions] = None,
        observer: Optional[ServerObserver] = None,
    ) -> None:
        self._store = ModelStore(models, greengrass)
        self._threads = threads
        self._onnx = onnx
        self._observer = observer
        self._slots: Dict[str, ModelSlot] = {}
        self._loaded: Dict[str, ModelIdentity] = {}
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
        self._path(component)
        with self._lock:
            return self._slots.setdefault(component, self._new_slot(component))

    def start(self, component: str) -> None:
        """Begin to load a component's package.

        Raises:
            Refusal: as `slot`, and FAILED_PRECONDITION unless it is STOPPED or FAILED.
        """
        slot = self.slot(component)
        path = self._path(component)
        identity = self._store.identify(component, path)
        with self._lock:
            slot.start(path)
            self._loaded[component] = identity

    def deployed(self) -> List[DeployedModel]:
        """Every package, loaded or not, by name."""
        packages = sorted(self._store.scan().items())
        return [DeployedModel(name, path, self._store.identify(name, path)) for name, path in packages]

    def describe(self, component: str) -> ModelDescription:
        """One component; raises as `slot` does."""
        slot = self.slot(component)
        return self._describe(slot, self._store.scan())

    def list(self) -> List[ModelDescription]:
        """Every component, by name."""
        packages = self._store.scan()
        with self._lock:
            for component in packages:
                self._slots.setdefault(component, self._new_slot(component))
            slots = sorted(self._slots.values(), key=lambda slot: slot.component)
        described = [self._describe(slot, packages) for slot in slots]
        return [model for model in described if model.component in packages or model.state.status not in _UNLOADED]

    def close(self, timeout: float) -> None:
        with self._lock:
            slots = list(self._slots.values())
        for slot in slots:
            slot.close(timeout)

    def _new_slot(self, component: str) -> ModelSlot:
        return ModelSlot(component, threads=self._threads, onnx=self._onnx, observer=self._observer)

    def _path(self, component: str) -> Path:
        path = self._store.find(component)
        if path is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"{component}: no model component of this name is deployed")
        return path

    def _describe(self, slot: ModelSlot, packages: Dict[str, Path]) -> ModelDescription:
        """What is loaded keeps its identity, whatever has become of its package."""
        slot.check()
        state = slot.state()
        path = packages.get(slot.component)
        with self._lock:
            loaded = self._loaded.get(slot.component)
        if loaded is not None and (path is None or state.status not in _UNLOADED):
            identity = loaded
        elif path is not None:
            identity = self._store.identify(slot.component, path)
        else:
            identity = identity_of(slot.component, state.version, None)
        return ModelDescription(slot.component, identity.arn, state)
