"""One model component: its state machine, and one call at a time on its model (contract sections 1.4 and 1.9)."""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path
from typing import Iterator, NamedTuple, Optional

import grpc

from edge_agent.errors import EdgeAgentError, EngineError
from edge_agent.model import Model, OnnxOptions, load_model, open_package
from edge_agent.server.observer import ServerObserver, Unobserved
from edge_agent.server.refusal import Refusal
from edge_agent.wire.edge_agent_pb2 import FAILED, RUNNING, STARTING, STOPPED, STOPPING, ModelStatus

#: Calls that may wait for one model; one more is refused at once.
MAX_WAITING = 8

_log = logging.getLogger(__name__)


class SlotState(NamedTuple):
    """One consistent reading. `version` is that of the model that is loaded, None where there is none."""

    status: ModelStatus
    message: str
    version: Optional[str]


class ModelSlot:
    """STOPPED, STARTING, RUNNING, STOPPING or FAILED; safe to use from any thread."""

    def __init__(
        self,
        component: str,
        *,
        threads: int,
        max_waiting: int = MAX_WAITING,
        onnx: Optional[OnnxOptions] = None,
        observer: Optional[ServerObserver] = None,
    ) -> None:
        self.component = component
        self._observer = observer or Unobserved()
        self._threads = threads
        self._onnx = onnx
        self._max_calls = 1 + max_waiting
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._status: ModelStatus = STOPPED
        self._message = ""
        self._version: Optional[str] = None
        self._model: Optional[Model] = None
        self._calls = 0
        self._loader: Optional[threading.Thread] = None

    def state(self) -> SlotState:
        with self._changed:
            return SlotState(self._status, self._message, self._version)

    def check(self) -> None:
        """Notice that the model died between two calls, such as by a signal to its process: FAILED."""
        # While a call has its turn, that call will notice.
        if self._turn.acquire(blocking=False):
            try:
                self._retire_if_dead()
            finally:
                self._turn.release()

    def start(self, path: Path) -> None:
        """Begin to load the package; returns at once, STARTING.

        Raises:
            Refusal: FAILED_PRECONDITION unless STOPPED or FAILED.
        """
        self.check()
        with self._changed:
            if self._status not in (STOPPED, FAILED):
                raise self._wrong_state("StartModel needs it STOPPED or FAILED")
            self._enter(STARTING)
            self._loader = threading.Thread(target=self._load, args=(path,), name=f"load {self.component}", daemon=True)
            self._loader.start()

    def stop(self) -> None:
        """Finish the calls in flight, then unload; returns STOPPED.

        Raises:
            Refusal: FAILED_PRECONDITION unless RUNNING.
        """
        with self._changed:
            if self._status != RUNNING:
                raise self._wrong_state("StopModel needs it RUNNING")
            self._enter(STOPPING)
            self._changed.wait_for(lambda: self._calls == 0)
            self._unload()
            self._enter(STOPPED)

    @contextlib.contextmanager
    def admit(self) -> Iterator[Model]:
        """The running model, held until the end of the `with`; use it within `turn` alone.

        Raises:
            Refusal: FAILED_PRECONDITION unless RUNNING, RESOURCE_EXHAUSTED when too many calls wait already.
        """
        with self._changed:
            if self._status != RUNNING or self._model is None:
                raise self._wrong_state("DetectAnomalies needs it RUNNING")
            if self._calls >= self._max_calls:
                raise Refusal(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{self.component}: {self._calls - 1} calls wait for this model already; send fewer",
                )
            self._calls += 1
            model = self._model
        try:
            yield model
        except EngineError:
            if model.failure is not None:
                with self._turn:  # calls that wait for it end quickly now
                    self._retire_if_dead()
            raise
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def turn(self, timeout: Optional[float]) -> Iterator[None]:
        """Wait until no other call uses the model.

        Args:
            timeout: seconds that the caller still waits for an answer; None for a caller without a deadline.

        Raises:
            Refusal: DEADLINE_EXCEEDED.
        """
        # No thread waits longer than TIMEOUT_MAX; a client may well send a later deadline.
        waiting = -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)
        if not self._turn.acquire(timeout=waiting):
            raise Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, f"{self.component}: no turn before the deadline")
        try:
            yield
        finally:
            self._turn.release()

    def close(self, timeout: float) -> None:
        """Unload at the end of the server, when no call comes any more. A load in progress gets `timeout` seconds."""
        loader = self._loader
        if loader is not None:
            loader.join(timeout)
        with self._changed:
            if self._calls == 0:
                self._unload()

    def _load(self, path: Path) -> None:
        model: Optional[Model] = None
        version: Optional[str] = None
        try:
            with open_package(path) as package:
                version = package.version
                model = load_model(package, threads=self._threads, onnx=self._onnx)
            model.warm_up()
            failure = ""
        except EdgeAgentError as error:
            failure = str(error)
        except MemoryError:
            failure = "there is not enough memory to load the model"
        except Exception:  # noqa: BLE001 - a loader that dies unseen would leave the model STARTING for ever
            _log.exception("%s: loading failed for a reason that is not the package's", self.component)
            failure = "the server failed to load the model; its log says why"
        self._observer.loaded(self.component, failure)
        with self._changed:
            if failure:
                if model is not None:
                    model.close()
                self._enter(FAILED, failure)
                return
            self._model, self._version = model, version
            self._enter(RUNNING, on=model.backend if model is not None else "")

    def _retire_if_dead(self) -> None:
        """RUNNING becomes FAILED where the model can never predict again; the caller has the turn."""
        with self._changed:
            model = self._model
            failure = model.failure if model is not None and self._status == RUNNING else None
            if failure is not None:
                self._unload()
                self._enter(FAILED, f"the model stopped working: {failure}")

    def _unload(self) -> None:
        if self._model is not None:
            self._model.close()
        self._model = self._version = None

    def _enter(self, status: ModelStatus, message: str = "", on: str = "") -> None:
        self._status, self._message = status, message
        self._changed.notify_all()
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
