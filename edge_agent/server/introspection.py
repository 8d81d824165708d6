"""What tools ask of any gRPC server: how it is (grpc.health.v1) and what it offers (server reflection).

Both are optional: a server without the two packages serves its own calls all the same.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any, Iterator, Optional

import grpc

from edge_agent.errors import MissingExtraError
from edge_agent.server.methods import SERVICE
from edge_agent.server.refusal import Refusal
from edge_agent.server.registry import ModelRegistry
from edge_agent.wire.edge_agent_pb2 import RUNNING

# Each stream holds a thread of the server for as long as its client likes, so that only a few may.
_MAX_STREAMS = 8

# How often a watched service is looked at.
_LOOK_S = 0.25

_log = logging.getLogger(__name__)


class Introspection:
    """Health and reflection of one server, as far as their packages are installed.

    Health knows the server (the empty name), each gRPC service, and each model component, which is SERVING while it is
    RUNNING. A service of the name of a model goes before the model.

    Args:
        registry: of every model.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._services = {"", SERVICE}
        self._streams = threading.BoundedSemaphore(_MAX_STREAMS)
        self._closing = threading.Event()
        self._health: Any = None
        self._reflection: Any = None

    def add_to(self, server: grpc.Server) -> None:
        """Register what is installed; what is not is said once."""
        for package, add in (("grpcio-health-checking", self._add_health), ("grpcio-reflection", self._add_reflection)):
            try:
                add(server)
            except ImportError:
                _log.warning("served without one of its conveniences: %s", MissingExtraError(package, "server"))

    def close(self) -> None:
        """Everything is NOT_SERVING from now on; watches end."""
        self._closing.set()

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the name in grpc.health.v1
        status = self._status(request.service)
        if status is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{request.service[:100]}: no service and no model component")
        return self._health.HealthCheckResponse(status=status)

    def List(self, _request: Any, _context: grpc.ServicerContext) -> Any:  # noqa: N802 - the name in grpc.health.v1
        names = [*self._services, *(model.component for model in self._registry.list())]
        found = ((name, self._status(name)) for name in names)
        answers = {
            name: self._health.HealthCheckResponse(status=status) for name, status in found if status is not None
        }
        return self._health.HealthListResponse(statuses=answers)

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802 - the name in grpc.health.v1
        with self._stream(context):
            told: Optional[int] = None
            while context.is_active():
                closing = self._closing.is_set()
                status = self._status(request.service)
                if status is None:
                    status = self._health.HealthCheckResponse.SERVICE_UNKNOWN
                if status != told:
                    told = status
                    yield self._health.HealthCheckResponse(status=status)
                if closing:
                    return
                self._closing.wait(_LOOK_S)

    def ServerReflectionInfo(self, requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802 - the name in grpc.reflection
        with self._stream(context):
            yield from self._reflection.ServerReflectionInfo(requests, context)

    def _status(self, service: str) -> Optional[int]:
        """None for a service that nobody knows."""
        serving = service in self._services
        if not serving:
            try:
                serving = self._registry.describe(service).state.status == RUNNING
            except Refusal:
                return None
        states = self._health.HealthCheckResponse
        status: int = states.SERVING if serving and not self._closing.is_set() else states.NOT_SERVING
        return status

    @contextlib.contextmanager
    def _stream(self, context: grpc.ServicerContext) -> Iterator[None]:
        if not self._streams.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MAX_STREAMS} streams are open already; close one")
        try:
            yield
        finally:
            self._streams.release()

    def _add_health(self, server: grpc.Server) -> None:
        from grpc_health.v1 import health, health_pb2

        self._health = health_pb2
        self._services.add(health.SERVICE_NAME)
        one = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": health_pb2.HealthCheckResponse.SerializeToString,
        }
        # Not the package's own registration: it asks for every method that its version knows.
        handlers = {
            "Check": grpc.unary_unary_rpc_method_handler(self.Check, **one),
            "Watch": grpc.unary_stream_rpc_method_handler(self.Watch, **one),
        }
        if hasattr(health_pb2, "HealthListRequest"):  # newer than 1.70
            handlers["List"] = grpc.unary_unary_rpc_method_handler(
                self.List,
                request_deserializer=health_pb2.HealthListRequest.FromString,
                response_serializer=health_pb2.HealthListResponse.SerializeToString,
            )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(health.SERVICE_NAME, handlers),))

    def _add_reflection(self, server: grpc.Server) -> None:
        from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

        self._services.add(reflection.SERVICE_NAME)
        self._reflection = reflection.ReflectionServicer(name for name in self._services if name)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(self, server)
