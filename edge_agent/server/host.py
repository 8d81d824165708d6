"""A running model server: gRPC on a Unix socket, from start to drained stop."""

from __future__ import annotations

import logging
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Optional, Tuple, Union

import grpc

from edge_agent.contract import MAX_MESSAGE_BYTES, socket_path
from edge_agent.errors import ServerError
from edge_agent.model import OnnxOptions, PublicKey
from edge_agent.server.introspection import Introspection
from edge_agent.server.methods import methods_of
from edge_agent.server.observer import ServerObserver
from edge_agent.server.pixels import SegmentCache
from edge_agent.server.registry import ModelDescription, ModelRegistry
from edge_agent.server.service import EdgeAgentService
from edge_agent.server.socket_file import SocketFile
from edge_agent.server.units import InferenceUnits
from edge_agent.server.watch import PackageWatch

# Calls answered at once, waiting ones included: enough for seven models with full queues. A call above it ends with
# RESOURCE_EXHAUSTED, so no call ever waits unseen for a thread. Threads are made when they are first needed.
_MAX_CALLS = 64

_SWEEP_S = 5.0

# While draining: how often to look, and how long after its last handler a server is certainly done with sending.
_POLL_S = 0.05
_SETTLED_S = 1.0

_log = logging.getLogger(__name__)


class ModelServer:
    """Serves the models of a directory, of a Greengrass nucleus, or of both.

    Args:
        models: the directory, or None; see edge_agent.server.store.
        socket: path of the Unix socket; AWS's `unix:` in front of it is accepted.
        threads: of the machine, for the inferences of all models together.
        second_socket: another path to serve on, unless another agent has it; empty for none.
        greengrass: the root of a nucleus, whose model components' artifacts are served, too.
        autostart: model components to start unasked, beside those whose manifests say so.
        onnx: how ONNX packages are run.
        units: engines kept and allowed, by model component; before what the manifests say.
        swap: whether a model that runs is replaced when its package is.
        observer: is told of every call and every load.
        trusted: only packages signed with this key are served; None for all.
    """

    def __init__(
        self,
        models: Union[str, Path, None],
        socket: str,
        threads: int = 1,
        *,
        second_socket: str = "",
        greengrass: Union[str, Path, None] = None,
        autostart: Iterable[str] = (),
        onnx: Optional[OnnxOptions] = None,
        units: Optional[Mapping[str, InferenceUnits]] = None,
        swap: bool = True,
        observer: Optional[ServerObserver] = None,
        trusted: Optional[PublicKey] = None,
    ) -> None:
        if threads < 1:
            raise ValueError("a server needs at least one thread for inferences")
        if models is None and greengrass is None:
            raise ValueError("a server needs a directory of models or the root of a nucleus")
        self._models = Path(models) if models is not None else None
        self._greengrass = Path(greengrass) if greengrass is not None else None
        self._socket = SocketFile(socket_path(socket))
        self._second = SocketFile(socket_path(second_socket)) if second_socket else None
        self._registry = ModelRegistry(
            self._models,
            threads=threads,
            greengrass=self._greengrass,
            units=units,
            onnx=onnx,
            observer=observer,
            trusted=trusted,
        )
        self._watch = PackageWatch(self._registry, autostart, swap=swap)
        self._segments = SegmentCache()
        self._service = EdgeAgentService(self._registry, self._segments, observer)
        self._introspection = Introspection(self._registry)
        self._server: Optional[grpc.Server] = None
        self._stopping = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="sweeper", daemon=True)

    @property
    def socket(self) -> str:
        return str(self._socket.path)

    def models(self) -> List[ModelDescription]:
        """Every model, by name."""
        return self._registry.list()

    def mappings(self) -> Dict[str, Tuple[int, int]]:
        """Segments of clients that are mapped, by access (`read`, `write`): how many, and their bytes."""
        return self._segments.mapped()

    def why_not_healthy(self) -> str:
        """What is wrong with a server that was started; empty where nothing is."""
        died = self._sweeper.ident is not None and not self._sweeper.is_alive() and not self._stopping.is_set()
        return "a thread of the server has died; its log says why" if died else ""

    def why_not_ready(self) -> str:
        """Why it takes no calls; empty where it does."""
        if self._server is None:
            return "the server is starting"
        if self._stopping.is_set():
            return "the server is stopping"
        return self.why_not_healthy()

    def start(self) -> None:
        """Serve; returns when clients can connect.

        Raises:
            SocketInUseError: another agent serves on the socket.
            ServerError: no such directory, or no socket can be made there.
        """
        for directory, kind in ((self._models, "directory of models"), (self._greengrass, "root of a nucleus")):
            if directory is not None and not directory.is_dir():
                raise ServerError(str(directory), f"is no {kind}", "Create it, or choose another.")
        self._socket.claim()
        try:
            self._claim_second()
            self._server = self._listen()
        except BaseException:
            self._release()
            raise
        places = " and ".join(str(socket.path) for socket in self._sockets())
        count = len(self._registry.list())
        _log.info("serving %d models on %s", count, places, extra={"models": count})
        self._watch.begin()
        self._sweeper.start()

    def stop(self, grace: float = 10.0) -> None:
        """Refuse new calls, let those in flight finish for up to `grace` seconds, and unload the models."""
        if self._server is None or self._stopping.is_set():
            return
        self._stopping.set()
        deadline = time.monotonic() + grace
        for socket in self._sockets():
            socket.remove()
        self._introspection.close()
        self._drain(self._server, grace)
        self._sweeper.join()
        self._registry.close(max(0.0, deadline - time.monotonic()))
        self._segments.close()
        self._release()

    def _sockets(self) -> List[SocketFile]:
        return [self._socket] if self._second is None else [self._socket, self._second]

    def _release(self) -> None:
        for socket in self._sockets():
            socket.release()

    def _claim_second(self) -> None:
        if self._second is None:
            return
        try:
            self._second.claim()
        except ServerError as error:
            # AWS's agent, most likely: its clients stay with it, and ours find the first socket.
            _log.warning("not serving on the second socket: %s", error)
            self._second = None

    def _listen(self) -> grpc.Server:
        server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=_MAX_CALLS, thread_name_prefix="call"),
            maximum_concurrent_rpcs=_MAX_CALLS,
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ],
        )
        server.add_generic_rpc_handlers((methods_of(self._service),))
        self._introspection.add_to(server)
        for socket in self._sockets():
            _bind(server, socket)
        server.start()
        try:
            for socket in self._sockets():
                socket.place()
        except ServerError:
            server.stop(None).wait()
            raise
        return server

    def _drain(self, server: grpc.Server, grace: float) -> None:
        drained = server.stop(grace)
        # A client that keeps an idle channel can hold gRPC up for the whole grace though every call is answered.
        while not drained.wait(_POLL_S):
            if self._service.idle_s() > _SETTLED_S:
                server.stop(None).wait()
                return

    def _sweep(self) -> None:
        while not self._stopping.wait(_SWEEP_S):
            self._segments.sweep()
            self._watch.look()
            self._registry.unload_surplus()


def _bind(server: grpc.Server, socket: SocketFile) -> None:
    try:
        bound = server.add_insecure_port(f"unix:{socket.private}")
    except RuntimeError as error:
        raise ServerError(str(socket.path), f"cannot be bound ({error})") from error
    if not bound:
        raise ServerError(str(socket.path), "cannot be bound")
