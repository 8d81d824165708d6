"""Calls to an Edge Agent over its Unix socket (contract section 1)."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional, Tuple, Type, Union

import grpc

from edge_agent.contract import MAX_MESSAGE_BYTES, PERFORMANCE_METADATA, VERSION_METADATA, Performance, socket_path
from edge_agent.errors import (
    DetectorError,
    DetectorTimeoutError,
    ModelNotFoundError,
    ModelNotRunningError,
    RequestRefusedError,
    ServerBusyError,
    ServerFaultError,
    ServerUnavailableError,
)
from edge_agent.frame import Placement
from edge_agent.inspection import Anomaly
from edge_agent.wire import edge_agent_pb2, edge_agent_pb2_grpc

_MAX_VERSION = 64

_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A new channel must connect anew, not wait for the back-off of the one before it.
    ("grpc.use_local_subchannel_pool", 1),
]

# What gRPC itself, not the agent, says of a message above either side's limit.
_OVERSIZE = "larger than max"


@dataclass(frozen=True)
class ModelState:
    """One model as the agent describes it.

    Attributes:
        component: the model component's name.
        arn: the ARN the agent gives, possibly empty.
        status: STOPPED, STARTING, RUNNING, FAILED or STOPPING.
        message: why, for FAILED.
        performance: of the model on images that its training held out, where the agent says it; None in a list.
    """

    component: str
    arn: str
    status: str
    message: str
    performance: Optional[Performance] = None


@dataclass(frozen=True)
class Detection:
    """A verdict, as the agent gave it.

    Attributes:
        is_anomalous: the image-level verdict.
        confidence: 0..1, how sure the verdict is.
        anomalies: classes in the mask, `background` included; empty for a classification model.
        mask_size: (width, height) of the mask, or None where there is none.
        mask: RGB888 bytes of the mask where it came in the message; None when it lies in the segment.
        model_version: of the model, where the agent says it.
    """

    is_anomalous: bool
    confidence: float
    anomalies: Tuple[Anomaly, ...]
    mask_size: Optional[Tuple[int, int]]
    mask: Optional[bytes]
    model_version: Optional[str]


class _Connection(NamedTuple):
    channel: Any
    stub: Any


class EdgeAgentClient:
    """Calls to one agent. Connects when first used, and again by itself; safe to use from several threads.

    After a connection was lost, the next call opens another channel: gRPC 1.70 was seen never to come back on the old
    one, because nothing reads from its new connection while every call fails at once.

    Args:
        socket: the agent's Unix socket, a path or AWS's form `unix:///tmp/x.sock`.
        deadline_s: seconds that one call may take.
    """

    def __init__(self, socket: str, *, deadline_s: float = 2.0) -> None:
        self.socket = str(socket_path(socket))
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._connection: Optional[_Connection] = None
        self._closed = False

    def list_models(self) -> List[ModelState]:
        reply = self._call("all models", "ListModels", edge_agent_pb2.ListModelsRequest())
        return [_state(model) for model in reply[0].models]

    def describe(self, model: str) -> ModelState:
        request = edge_agent_pb2.DescribeModelRequest(model_component=model)
        reply, call = self._call(model, "DescribeModel", request)
        text = _metadata(call, PERFORMANCE_METADATA)
        return replace(_state(reply.model_description), performance=Performance.from_text(text) if text else None)

    def start(self, model: str) -> None:
        """Ask for a start; the model is RUNNING some time later.

        Raises:
            ModelNotRunningError: it is neither STOPPED nor FAILED.
        """
        self._call(model, "StartModel", edge_agent_pb2.StartModelRequest(model_component=model))

    def stop(self, model: str) -> None:
        """Stop the model; returns when the calls in flight are answered. AWS's agent may say STOPPING even then.

        Raises:
            ModelNotRunningError: it is not RUNNING.
        """
        self._call(model, "StopModel", edge_agent_pb2.StopModelRequest(model_component=model))

    def detect(
        self,
        model: str,
        *,
        width: int,
        height: int,
        image: Union[Placement, bytes],
        mask: Optional[Placement] = None,
    ) -> Detection:
        """The verdict on RGB888 pixels; the mask goes to `mask` where the agent knows how.

        Args:
            model: the model component's name.
            width: of the image, pixels.
            height: of the image, pixels.
            image: where its bytes lie in shared memory, or the bytes themselves: height * width * 3.
            mask: a segment that the agent may write the mask to; without it the mask comes in the message.

        Raises:
            ServerUnavailableError, DetectorTimeoutError, ServerBusyError, ModelNotRunningError, ModelNotFoundError:
                nothing is wrong with the frame, which may be sent again.
            RequestRefusedError, ServerFaultError: it will not help to send it again.
        """
        bitmap = edge_agent_pb2.Bitmap(width=width, height=height)
        if isinstance(image, bytes):
            bitmap.byte_data = image
        else:
            bitmap.shared_memory_handle.CopyFrom(_handle(image))
        request = edge_agent_pb2.DetectAnomaliesRequest(model_component=model, bitmap=bitmap)
        if mask is not None:
            request.anomaly_mask_params.shared_memory_handle.CopyFrom(_handle(mask))
        reply, call = self._call(model, "DetectAnomalies", request)
        return _detection(model, reply.detect_anomaly_result, _metadata(call, VERSION_METADATA))

    def close(self) -> None:
        """Calls that come later fail as ServerUnavailableError."""
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.channel.close()

    def _call(self, model: str, method: str, request: Any) -> Any:
        """The reply and its call, which has the metadata."""
        connection = self._connect(model)
        try:
            return getattr(connection.stub, method).with_call(request, timeout=self._deadline_s)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                self._forget(connection)
            self._raise(model, error)
        except ValueError as error:
            # grpc's word for a channel that another thread closed.
            raise ServerUnavailableError(model, "the connection to the Edge Agent was closed") from error

    def _connect(self, model: str) -> _Connection:
        with self._lock:
            if self._closed:
                raise ServerUnavailableError(model, "the client is closed")
            if self._connection is None:
                channel = grpc.insecure_channel(f"unix:{self.socket}", options=_OPTIONS)
                stub = edge_agent_pb2_grpc.EdgeAgentStub(channel)  # type: ignore[no-untyped-call] # generated
                self._connection = _Connection(channel, stub)
            return self._connection

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
        connection.channel.close()

    def _raise(self, model: str, error: grpc.RpcError) -> NoReturn:
        code, details = error.code(), (error.details() or "").strip()
        kind, reason, remedy = _meaning(code, details, self.socket, self._deadline_s)
        raise kind(model, reason, remedy) from error


def _meaning(
    code: grpc.StatusCode, details: str, socket: str, deadline_s: float
) -> Tuple[Type[DetectorError], str, str]:
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED and _OVERSIZE in details:
        code = grpc.StatusCode.INVALID_ARGUMENT
    absent = (ServerUnavailableError, f"no Edge Agent answers on {socket}", "Start it, or correct the socket path.")
    meanings: Dict[grpc.StatusCode, Tuple[Type[DetectorError], str, str]] = {
        grpc.StatusCode.UNAVAILABLE: absent,
        grpc.StatusCode.CANCELLED: absent,
        grpc.StatusCode.DEADLINE_EXCEEDED: (
            DetectorTimeoutError,
            f"the Edge Agent gave no answer within {deadline_s:g} s",
            "",
        ),
        grpc.StatusCode.NOT_FOUND: (
            ModelNotFoundError,
            f"the Edge Agent has no such model ({details})",
            "Deploy it, or correct the name.",
        ),
        grpc.StatusCode.FAILED_PRECONDITION: (
            ModelNotRunningError,
            f"is not in the state that the call needs ({details})",
            "",
        ),
        grpc.StatusCode.RESOURCE_EXHAUSTED: (ServerBusyError, f"the Edge Agent cannot keep up ({details})", ""),
        grpc.StatusCode.INVALID_ARGUMENT: (RequestRefusedError, f"the Edge Agent refuses the request ({details})", ""),
    }
    fault = (ServerFaultError, f"the Edge Agent failed with {code.name} ({details})", "See the Edge Agent's log.")
    return meanings.get(code, fault)


def _handle(placement: Placement) -> edge_agent_pb2.SharedMemoryHandle:
    return edge_agent_pb2.SharedMemoryHandle(name=placement.name, offset=placement.offset, size=placement.size)


def _state(model: Any) -> ModelState:
    try:
        status = edge_agent_pb2.ModelStatus.Name(model.status)
    except ValueError:
        status = f"status {model.status}"
    return ModelState(model.model_component, model.lookout_vision_model_arn, status, model.status_message)


def _metadata(call: Any, name: str) -> Optional[str]:
    """A value of the trailing metadata of a call."""
    return next((str(value) for key, value in call.trailing_metadata() or () if key == name), None)


def _detection(model: str, result: Any, version: Optional[str]) -> Detection:
    if not 0.0 <= result.confidence <= 1.0:
        raise ServerFaultError(model, f"the Edge Agent answered with confidence {result.confidence}, outside 0 to 1")
    # A sub-message is never None and always true: presence has to be asked for (contract section 1.7).
    mask_size = mask = None
    if result.HasField("anomaly_mask"):
        mask_size = (result.anomaly_mask.width, result.anomaly_mask.height)
        if result.anomaly_mask.WhichOneof("data") == "byte_data":
            mask = result.anomaly_mask.byte_data
    return Detection(
        is_anomalous=result.is_anomalous,
        confidence=result.confidence,
        anomalies=tuple(
            Anomaly(a.name, a.pixel_anomaly.total_percentage_area, a.pixel_anomaly.hex_color.upper())
            for a in result.anomalies
        ),
        mask_size=mask_size,
        mask=mask,
        model_version=None if version is None else version[:_MAX_VERSION],
    )
