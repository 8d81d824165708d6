"""Every model component: those in the store, and those that are loaded though their package is gone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional

import grpc

from edge_agent.contract import Performance
from edge_agent.model import OnnxOptions, PublicKey
from edge_agent.server.fingerprint import Fingerprint
from edge_agent.server.loading import Loader
from edge_agent.server.memory import check_memory
from edge_agent.server.observer import ServerObserver
from edge_agent.server.refusal import Refusal, invalid
from edge_agent.server.slot import ModelSlot, SlotState
from edge_agent.server.store import DeployedModel, ModelStore, identity_of
from edge_agent.server.units import InferenceUnits, ThreadBudget
from edge_agent.wire.edge_agent_pb2 import FAILED, STOPPED

# States in which a component is nothing but its package.
_UNLOADED = (STOPPED, FAILED)


class ModelDescription(NamedTuple):
    component: str
    arn: str
    state: SlotState
    performance: Optional[Performance]


class ModelRegistry:
    """Finds the slot of a component; safe to use from any thread.

    Args:
        models: directory of packages, or None.
        threads: of the machine, for all inferences.
        greengrass: root of a nucleus, or None.
        units: by model component; see edge_agent.server.units.
        onnx: how ONNX packages are run.
        observer: is told of every load.
        trusted: only packages signed with this key are loaded; None for all.
    """

    def __init__(
        self,
        models: Optional[Path],
        *,
        threads: int,
        greengrass: Optional[Path] = None,
        units: Optional[Mapping[str, InferenceUnits]] = None,
        onnx: Optional[OnnxOptions] = None,
        observer: Optional[ServerObserver] = None,
        trusted: Optional[PublicKey] = None,
    ) -> None:
        self._store = ModelStore(models, greengrass)
        self._loader = Loader(threads, units, onnx, observer, trusted)
        self._budget = ThreadBudget(threads)
        self._slots: Dict[str, ModelSlot] = {}
        self._lock = threading.Lock()  # of the dictionary alone; nothing is done under it

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
        self._package(component)
        return self._slot(component)

    def start(self, component: str) -> None:
        """Begin to load a component's package.

        Raises:
            Refusal: as `slot`; FAILED_PRECONDITION unless it is STOPPED or FAILED; RESOURCE_EXHAUSTED when it cannot
                have the memory that it needs.
        """
        slot = self.slot(component)
        slot.check_startable()
        package = self._package(component)
        check_memory(package)
        slot.start(package)

    def swap(self, package: DeployedModel, fingerprint: Fingerprint) -> None:
        """Begin to replace the version that serves; see ModelSlot.swap.

        Raises:
            Refusal: FAILED_PRECONDITION unless it is RUNNING and no swap is under way; RESOURCE_EXHAUSTED as `start`.
        """
        check_memory(package)
        self._slot(package.component).swap(package, fingerprint)

    def note(self, component: str, message: str) -> None:
        """What DescribeModel says of a model beside RUNNING."""
        self._slot(component).note(message)

    def state(self, component: str) -> SlotState:
        """Of a component that may or may not be deployed."""
        return self._slot(component).state()

    def deployed(self) -> List[DeployedModel]:
        """Every package, loaded or not, by name."""
        return list(self._store.deployed().values())

    def describe(self, component: str) -> ModelDescription:
        """One component; raises as `slot` does."""
        slot = self.slot(component)
        return _describe(slot, self._store.find(component))

    def list(self) -> List[ModelDescription]:
        """Every component, by name."""
        packages = self._store.deployed()
        for component in packages:
            self._slot(component)
        described = [_describe(slot, packages.get(slot.component)) for slot in self._all()]
        return [model for model in described if model.component in packages or model.state.status not in _UNLOADED]

    def unload_surplus(self) -> None:
        """Let go of engines that nobody needs; to be called now and then."""
        for slot in self._all():
            slot.turns.drop_surplus()

    def close(self, timeout: float) -> None:
        for slot in self._all():
            slot.close(timeout)

    def _all(self) -> List[ModelSlot]:
        with self._lock:
            return [slot for _, slot in sorted(self._slots.items())]

    def _slot(self, component: str) -> ModelSlot:
        with self._lock:
            slot = self._slots.get(component)
            if slot is None:
                slot = self._slots[component] = ModelSlot(component, self._loader, self._budget)
            return slot

    def _package(self, component: str) -> DeployedModel:
        package = self._store.find(component)
        if package is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"{component}: no model component of this name is deployed")
        return package


def _describe(slot: ModelSlot, package: Optional[DeployedModel]) -> ModelDescription:
    """What serves keeps its identity, whatever has become of its package."""
    slot.turns.drop_dead()
    state = slot.state()
    identity = state.identity or (package.identity if package else identity_of(slot.component, None, None))
    return ModelDescription(slot.component, identity.arn, state, identity.performance)
