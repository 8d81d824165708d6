"""One model component: its states (contract section 1.4), and the versions that serve it one after the other.

Locks, outermost first; no other is taken under the one named last:
1. `_loading`: one thread loads for a model at a time and holds this for as long as that takes. No call waits for it.
2. `_lock`: states, line and engines of a model. Held for a few instructions; never two models' at once.
3. That of the thread budget.
"""

from __future__ import annotations

import logging
import threading
from typing import Callable, ContextManager, NamedTuple, Optional

import grpc

from edge_agent.errors import EdgeAgentError
from edge_agent.server.fingerprint import Fingerprint
from edge_agent.server.loading import Loader
from edge_agent.server.pool import EnginePool, close_all
from edge_agent.server.refusal import Refusal
from edge_agent.server.store import DeployedModel, ModelIdentity
from edge_agent.server.turns import OnGone, Turn, Turns
from edge_agent.server.units import ThreadBudget
from edge_agent.wire.edge_agent_pb2 import FAILED, RUNNING, STARTING, STOPPED, STOPPING, ModelStatus

#: How the message of a model begins that runs while its newer package cannot.
NOT_SERVED = "a new package is there, but not served: "

_log = logging.getLogger(__name__)


class SlotState(NamedTuple):
    """One consistent reading. Identity, files and engines are of the version that serves; None and 0 without one."""

    status: ModelStatus
    message: str
    identity: Optional[ModelIdentity]
    fingerprint: Optional[Fingerprint]
    engines: int


class ModelSlot:
    """STOPPED, STARTING, RUNNING, STOPPING or FAILED; safe to use from any thread."""

    def __init__(self, component: str, loader: Loader, budget: ThreadBudget) -> None:
        self.component = component
        self._loader = loader
        self._loading = threading.Lock()
        self._lock = threading.RLock()
        self._status: ModelStatus = STOPPED
        self._message = ""
        self._swapping = False
        self.turns = Turns(component, self._lock, budget, admit=self._check_running, grow=self._grow, lost=self._died)

    def state(self) -> SlotState:
        with self._lock:
            pool = self.turns.pool
            if pool is None:
                return SlotState(self._status, self._message, None, None, 0)
            return SlotState(self._status, self._message, pool.identity, pool.fingerprint, pool.size)

    def check_startable(self) -> None:
        """Raise FAILED_PRECONDITION unless STOPPED or FAILED."""
        self.turns.drop_dead()
        with self._lock:
            if self._status not in (STOPPED, FAILED):
                raise self._wrong_state("StartModel needs it STOPPED or FAILED")

    def start(self, package: DeployedModel) -> None:
        """Begin to load the package; returns at once, STARTING.

        Raises:
            Refusal: FAILED_PRECONDITION unless STOPPED or FAILED.
        """
        with self._lock:
            self.check_startable()
            self._in_background("load", lambda: self._load(package))
            self._enter(STARTING)

    def swap(self, package: DeployedModel, fingerprint: Fingerprint) -> None:
        """Begin to load another version beside the one that serves; returns at once, and the model stays RUNNING.

        Args:
            package: the other version.
            fingerprint: of its files, which are as they shall be.

        Raises:
            Refusal: FAILED_PRECONDITION unless RUNNING, or while another swap is under way.
        """
        with self._lock:
            serving = self.turns.pool
            if self._status != RUNNING or self._swapping or serving is None:
                raise self._wrong_state("a swap needs it RUNNING, and one at a time")
            self._in_background("swap", lambda: self._swap(serving, package, fingerprint))
            self._swapping = True

    def stop(self) -> None:
        """Finish the calls in flight and those that wait, then unload; returns STOPPED.

        Raises:
            Refusal: FAILED_PRECONDITION unless RUNNING.
        """
        with self._lock:
            if self._status != RUNNING:
                raise self._wrong_state("StopModel needs it RUNNING")
            self._enter(STOPPING)
            self.turns.wait_until_empty()
            pool = self.turns.serve(None)
        if pool is not None:
            close_all(pool.take_all())
        with self._lock:
            self._enter(STOPPED)

    def take_turn(self, timeout: Optional[float], on_gone: OnGone) -> ContextManager[Turn]:
        """An engine for one call; raises FAILED_PRECONDITION unless RUNNING, and what `Turns.take` raises."""
        return self.turns.take(timeout, on_gone)

    def note(self, message: str) -> None:
        """What DescribeModel says beside RUNNING."""
        with self._lock:
            if self._status == RUNNING:
                self._message = message

    def close(self, timeout: float) -> None:
        """Unload at the end of the server, when no call comes any more. A load in progress gets `timeout` seconds."""
        if self._loading.acquire(timeout=timeout):
            self._loading.release()
        pool = self.turns.serve(None)
        if pool is not None:
            close_all(pool.take_all())

    def _load(self, package: DeployedModel) -> None:
        with self._loading:
            try:
                pool = self._loader.load(package)
            except EdgeAgentError as error:
                with self._lock:
                    self._enter(FAILED, str(error))
                return
            with self._lock:
                self.turns.serve(pool)
                self._enter(RUNNING, on=pool.backend)

    def _swap(self, serving: EnginePool, package: DeployedModel, fingerprint: Fingerprint) -> None:
        try:
            with self._loading:
                if self.turns.pool is serving:  # not if it was stopped meanwhile
                    self._replace(serving, package, fingerprint)
        finally:
            with self._lock:
                self._swapping = False

    def _replace(self, serving: EnginePool, package: DeployedModel, fingerprint: Fingerprint) -> None:
        try:
            new = self._loader.load(package, fingerprint)
        except EdgeAgentError as error:
            _log.error("%s: %s%s", self.component, NOT_SERVED, error)
            with self._lock:
                if self.turns.pool is serving:
                    self.note(f"{NOT_SERVED}{error}")
            return
        with self._lock:
            fits = self._status == RUNNING and self.turns.pool is serving
            if fits:
                self.turns.serve(new)
                self._message = ""
        if fits:
            arns = (new.identity.arn, serving.identity.arn)
            _log.info("%s: %s serves in place of %s, on %s", self.component, *arns, new.backend)
        unwanted = serving if fits else new
        self.turns.wait_until_idle(unwanted)
        close_all(unwanted.take_all())

    def _grow(self, pool: EnginePool) -> None:
        """Load one more engine; the lock is held."""
        try:
            self._in_background("grow", lambda: self._load_another(pool))
        except RuntimeError:  # no thread to be had
            _log.exception("%s: stays at %d engines", self.component, pool.size)
            pool.grown(None)

    def _load_another(self, pool: EnginePool) -> None:
        with self._loading:
            try:
                model = self._loader.load_another(pool)
            except EdgeAgentError as error:
                _log.warning("%s: stays at %d engines: %s", self.component, pool.size, error)
                self.turns.cannot_add(pool)
                return
            if self.turns.add(pool, model):
                _log.info("%s: has %d engines", self.component, pool.size)
            else:
                model.close()

    def _in_background(self, verb: str, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name=f"{verb} {self.component}", daemon=True).start()

    def _died(self, reason: str) -> None:
        """The last engine is dead; the lock is held."""
        if self._status == RUNNING:
            self._enter(FAILED, f"the model stopped working: {reason}")
        self.turns.refuse_all(self._wrong_state("DetectAnomalies needs it RUNNING"))

    def _check_running(self) -> None:
        if self._status != RUNNING:
            raise self._wrong_state("DetectAnomalies needs it RUNNING")

    def _enter(self, status: ModelStatus, message: str = "", on: str = "") -> None:
        self._status, self._message = status, message
        log = _log.error if status == FAILED else _log.info
        name = ModelStatus.Name(status)
        fields = {"component": self.component, "status": name}
        more = f": {message}" if message else f" on {on}" if on else ""
        log("%s: %s%s", self.component, name, more, extra=fields)

    def _wrong_state(self, need: str) -> Refusal:
        return Refusal(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"{self.component}: {need}; its state is {ModelStatus.Name(self._status)}",
        )
