"""The engines of one version of a model. Not thread-safe: a slot's lock guards it (see slot.py)."""

from __future__ import annotations

import time
from typing import List, NamedTuple, Optional, Sequence

from edge_agent.model import Model
from edge_agent.server.fingerprint import Fingerprint
from edge_agent.server.store import DeployedModel, ModelIdentity
from edge_agent.server.units import Share

#: An engine beyond those kept is unloaded when it had nothing to do for so long, in seconds.
KEEP_S = 60.0

#: One more engine that could not be had is tried again after so long, in seconds.
RETRY_S = 60.0


class _Idle(NamedTuple):
    model: Model
    since_ns: int


class EnginePool:
    """Engines that are idle; those at work are counted.

    Args:
        package: what they were loaded from.
        fingerprint: of its files when they were.
        identity: version and ARN.
        share: engines kept and allowed, and threads of each.
        models: the first engines.
    """

    def __init__(
        self,
        package: DeployedModel,
        fingerprint: Fingerprint,
        identity: ModelIdentity,
        share: Share,
        models: Sequence[Model],
    ) -> None:
        self.package = package
        self.fingerprint = fingerprint
        self.identity = identity
        self.share = share
        self.backend = models[0].backend
        self.at_work = 0
        self._growing = False
        self._grow_from_ns = 0
        # The one used last is used next, so that what is too many grows old.
        self._idle: List[_Idle] = []
        for model in models:
            self._rest(model)

    @property
    def size(self) -> int:
        """Engines that are loaded."""
        return len(self._idle) + self.at_work

    @property
    def has_idle(self) -> bool:
        return bool(self._idle)

    @property
    def is_lost(self) -> bool:
        """No engine is left, and none is on its way."""
        return self.size == 0 and not self._growing

    def take(self) -> Model:
        self.at_work += 1
        return self._idle.pop().model

    def put_back(self, model: Model) -> None:
        """An engine comes back from its call; one that can never run again must be dropped instead."""
        self.at_work -= 1
        self._rest(model)

    def drop(self) -> None:
        """An engine at work is no more."""
        self.at_work -= 1

    def take_dead(self) -> List[Model]:
        """Idle engines that can never run again; they are no part of the pool any more."""
        dead = [idle.model for idle in self._idle if idle.model.failure is not None]
        self._idle = [idle for idle in self._idle if idle.model not in dead]
        return dead

    def take_surplus(self) -> List[Model]:
        """Idle engines that are not needed; they are no part of the pool any more."""
        old = time.monotonic_ns() - int(KEEP_S * 1e9)
        count = max(0, self.size - self.share.kept)
        surplus = [idle.model for idle in self._idle[:count] if idle.since_ns <= old]
        self._idle = self._idle[len(surplus) :]
        return surplus

    def take_all(self) -> List[Model]:
        """Every idle engine."""
        models = [idle.model for idle in self._idle]
        self._idle = []
        return models

    def begin_growing(self) -> bool:
        """Whether one more engine is to be loaded; then `grown` is called when that is done."""
        if self._growing or self.size >= self.share.allowed or time.monotonic_ns() < self._grow_from_ns:
            return False
        self._growing = True
        return True

    def grown(self, model: Optional[Model]) -> None:
        """One more engine, or None: it cannot be had now."""
        self._growing = False
        if model is None:
            self._grow_from_ns = time.monotonic_ns() + int(RETRY_S * 1e9)
        else:
            self._rest(model)

    def _rest(self, model: Model) -> None:
        self._idle.append(_Idle(model, time.monotonic_ns()))


def close_all(models: Sequence[Model]) -> None:
    for model in models:
        model.close()
