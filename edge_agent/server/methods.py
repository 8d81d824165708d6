"""The five methods as gRPC serves them.

gRPC's own answer to a request that is no message of the contract is INTERNAL, with a traceback in the log for each. It
is the caller's fault, so here it is INVALID_ARGUMENT, and silent.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple, Union

import grpc
from google.protobuf.message import DecodeError

from edge_agent.wire import edge_agent_pb2 as wire

#: The contract's service, as it is called on the wire.
SERVICE: str = wire.DESCRIPTOR.services_by_name["EdgeAgent"].full_name

_MESSAGES: Dict[str, Tuple[Any, Any]] = {
    "DetectAnomalies": (wire.DetectAnomaliesRequest, wire.DetectAnomaliesResponse),
    "StartModel": (wire.StartModelRequest, wire.StartModelResponse),
    "StopModel": (wire.StopModelRequest, wire.StopModelResponse),
    "ListModels": (wire.ListModelsRequest, wire.ListModelsResponse),
    "DescribeModel": (wire.DescribeModelRequest, wire.DescribeModelResponse),
}


#: Its calls.
METHODS = tuple(_MESSAGES)


def methods_of(servicer: Any) -> grpc.GenericRpcHandler:
    """A handler for `grpc.Server.add_generic_rpc_handlers`.

    Args:
        servicer: has the five methods, and `refuse_malformed(name, context)` for requests that are no messages.
    """
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _unless_malformed(servicer, name),
            request_deserializer=_reader(request.FromString),
            response_serializer=response.SerializeToString,
        )
        for name, (request, response) in _MESSAGES.items()
    }
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


class _Malformed:
    """In place of a request that could not be read."""


_MALFORMED = _Malformed()


def _reader(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Union[Any, _Malformed]:
        try:
            return parse(data)
        except (DecodeError, UnicodeDecodeError):
            return _MALFORMED

    return read


def _unless_malformed(servicer: Any, name: str) -> Callable[[Any, Any], Any]:
    answer = getattr(servicer, name)

    def call(request: Any, context: grpc.ServicerContext) -> Any:
        if request is _MALFORMED:
            return servicer.refuse_malformed(name, context)
        return answer(request, context)

    return call
