"""Engines and a loader that do what a test tells them, for the server's slots; they note every misuse."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

from edge_agent.errors import EngineError, PackageError
from edge_agent.server.pool import EnginePool
from edge_agent.server.store import DeployedModel, identity_of
from edge_agent.server.units import InferenceUnits, share_of


class ScriptedModel:
    """One engine; `compute` is what a call does with it."""

    backend = "a script"

    def __init__(self, version: str, faults: List[str]) -> None:
        self.version = version
        self.failure: Optional[str] = None
        self.closed = False
        self.computed = 0
        self._faults = faults
        self._busy = threading.Lock()

    def compute(self, work: Callable[[], Any]) -> None:
        if not self._busy.acquire(blocking=False):
            self._faults.append(f"two calls at once on an engine of {self.version}")
            return
        try:
            if self.closed:
                self._faults.append(f"a call on a closed engine of {self.version}")
            self.computed += 1
            work()
            if self.closed:
                self._faults.append(f"an engine of {self.version} was closed under a call")
        finally:
            self._busy.release()

    def die(self, reason: str) -> None:
        self.failure = reason
        raise EngineError(self.version, reason)

    def close(self) -> None:
        if self.closed:
            self._faults.append(f"an engine of {self.version} was closed twice")
        self.closed = True


class ScriptedLoader:
    """Loads at once, or, with `gated`, when `finish` says so and as it says."""

    def __init__(self, threads: int, units: Tuple[int, int] = (1, 1), *, gated: bool = False) -> None:
        self.models: List[ScriptedModel] = []
        self.faults: List[str] = []
        self.broken = False
        self.inside: Optional[Tuple[str, str]] = None
        self._share = share_of(InferenceUnits(*units), threads)
        self._gated = gated
        self._gate = threading.Condition()
        self._verdict: Optional[bool] = None

    def load(self, package: DeployedModel, settled: Any = None) -> EnginePool:
        version = package.identity.version or "?"
        self._pass("load", version)
        models = [self._model(version) for _ in range(self._share.kept)]
        return EnginePool(package, frozenset([(version, 0, 0, 0)]), package.identity, self._share, models)

    def load_another(self, pool: EnginePool) -> ScriptedModel:
        self._pass("grow", pool.identity.version or "?")
        return self._model(pool.identity.version or "?")

    def finish(self, *, good: bool) -> None:
        """Let the load that is under way end."""
        with self._gate:
            self._verdict = good
            self._gate.notify_all()
            assert self._gate.wait_for(lambda: self._verdict is None, 10)

    def _pass(self, kind: str, version: str) -> None:
        good = not self.broken
        if self._gated:
            with self._gate:
                if self.inside is not None:
                    self.faults.append("two loads at once")
                self.inside = (kind, version)
                self._gate.wait_for(lambda: self._verdict is not None)
                good, self._verdict, self.inside = bool(self._verdict), None, None
                self._gate.notify_all()
        if not good:
            raise PackageError(version, "is broken")

    def _model(self, version: str) -> ScriptedModel:
        self.models.append(ScriptedModel(version, self.faults))
        return self.models[-1]


class Caller:
    """The other end of a call, which may go at any moment, as gRPC tells of it."""

    def __init__(self) -> None:
        self._gone = False
        self._tell: List[Callable[[], None]] = []
        self._lock = threading.Lock()

    def on_gone(self, tell: Callable[[], None]) -> bool:
        with self._lock:
            self._tell.append(tell)
            return not self._gone

    def hang_up(self) -> None:
        with self._lock:
            self._gone = True
            told = list(self._tell)
        for tell in told:
            tell()


def package_of(version: str) -> DeployedModel:
    return DeployedModel("bolts", Path("/nowhere/bolts"), identity_of("bolts", version, None))
