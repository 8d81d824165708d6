"""The five calls of the contract (sections 1.2 to 1.7) on the registry of models."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Callable, NoReturn, Optional, TypeVar

import grpc

from edge_agent.contract import PERFORMANCE_METADATA, TIMINGS_METADATA, VERSION_METADATA
from edge_agent.errors import EdgeAgentError
from edge_agent.model import Verdict
from edge_agent.server.observer import CallObserver, ServerObserver, Unobserved
from edge_agent.server.pixels import SegmentCache, check_bitmap, image_of, mask_target
from edge_agent.server.refusal import Refusal, invalid
from edge_agent.server.registry import ModelDescription, ModelRegistry
from edge_agent.server.turns import Turn
from edge_agent.wire import edge_agent_pb2 as wire
from edge_agent.wire import edge_agent_pb2_grpc

_log = logging.getLogger(__name__)

# Details travel percent-encoded, up to twelve bytes a character, in metadata of which a client accepts 8 KiB.
_MAX_DETAILS = 600

Reply = TypeVar("Reply")


class EdgeAgentService(edge_agent_pb2_grpc.EdgeAgentServicer):
    """Answers calls; every failure is a documented status code with one sentence.

    Args:
        registry: of every model.
        segments: of the clients.
        observer: is told of every call.
    """

    def __init__(
        self, registry: ModelRegistry, segments: SegmentCache, observer: Optional[ServerObserver] = None
    ) -> None:
        self._registry = registry
        self._segments = segments
        self._observer = observer or Unobserved()
        self._active = 0
        self._changed_ns = time.monotonic_ns()
        self._lock = threading.Lock()

    def idle_s(self) -> float:
        """Seconds since the last call began or ended; 0 while there is one."""
        with self._lock:
            return 0.0 if self._active else (time.monotonic_ns() - self._changed_ns) / 1e9

    def DetectAnomalies(self, request: Any, context: grpc.ServicerContext) -> wire.DetectAnomaliesResponse:  # noqa: N802 - the contract's name
        return self._answer(context, "DetectAnomalies", lambda call: self._detect(request, context, call))

    def StartModel(self, request: Any, context: grpc.ServicerContext) -> wire.StartModelResponse:  # noqa: N802 - the contract's name
        def start(_call: CallObserver) -> wire.StartModelResponse:
            self._registry.start(request.model_component)
            return wire.StartModelResponse(status=wire.STARTING)

        return self._answer(context, "StartModel", start)

    def StopModel(self, request: Any, context: grpc.ServicerContext) -> wire.StopModelResponse:  # noqa: N802 - the contract's name
        def stop(_call: CallObserver) -> wire.StopModelResponse:
            self._registry.slot(request.model_component).stop()
            return wire.StopModelResponse(status=wire.STOPPED)

        return self._answer(context, "StopModel", stop)

    def ListModels(self, request: Any, context: grpc.ServicerContext) -> wire.ListModelsResponse:  # noqa: ARG002, N802 - the contract's name and an empty request
        def list_models(_call: CallObserver) -> wire.ListModelsResponse:
            models = [wire.ModelMetadata(**_fields(model)) for model in self._registry.list()]
            return wire.ListModelsResponse(models=models)

        return self._answer(context, "ListModels", list_models)

    def DescribeModel(self, request: Any, context: grpc.ServicerContext) -> wire.DescribeModelResponse:  # noqa: N802 - the contract's name
        def describe(_call: CallObserver) -> wire.DescribeModelResponse:
            model = self._registry.describe(request.model_component)
            if model.performance is not None:
                context.set_trailing_metadata(((PERFORMANCE_METADATA, model.performance.as_text()),))
            return wire.DescribeModelResponse(model_description=wire.ModelDescription(**_fields(model)))

        return self._answer(context, "DescribeModel", describe)

    def refuse_malformed(self, method: str, context: grpc.ServicerContext) -> None:
        """Answer a request that is no message of the contract."""

        def refuse(_call: CallObserver) -> None:
            raise invalid(f"request: the bytes are no {method}Request")

        self._answer(context, method, refuse)

    def _answer(self, context: grpc.ServicerContext, method: str, work: Callable[[CallObserver], Reply]) -> Reply:
        self._count(1)
        call, code = self._observer.call(method), grpc.StatusCode.INTERNAL
        try:
            reply = work(call)
        except Refusal as refusal:
            code = refusal.code
            _abort(context, refusal.code, refusal.details)
        except EdgeAgentError as error:
            _log.error("%s: %s", method, error, exc_info=error.__cause__, extra={"method": method, "code": code.name})
            _abort(context, code, str(error))
        except Exception:  # noqa: BLE001 - nothing may reach the client as a traceback
            _log.exception("%s failed", method, extra={"method": method, "code": code.name})
            _abort(context, code, f"{method}: the server failed; its log says why")
        else:
            code = grpc.StatusCode.OK
            return reply
        finally:
            call.ends(code.name)
            _log.debug("%s: %s", method, code.name, extra={"method": method, "code": code.name})
            self._count(-1)

    def _count(self, step: int) -> None:
        with self._lock:
            self._active += step
            self._changed_ns = time.monotonic_ns()

    def _detect(self, request: Any, context: grpc.ServicerContext, call: CallObserver) -> wire.DetectAnomaliesResponse:
        slot = self._registry.slot(request.model_component)
        data = check_bitmap(request.bitmap)
        call.waits(slot.component)
        with slot.take_turn(context.time_remaining(), context.add_callback) as turn:
            call.has_turn(turn.waited_ms)
            # In the turn, so that the segments are checked right before they are used.
            mask_size = turn.model.mask_size_for(request.bitmap.height, request.bitmap.width)
            target = mask_target(request, mask_size, self._segments)
            verdict = turn.model.detect(image_of(request.bitmap, data, self._segments), target)
        call.computed(verdict.timings)
        _send_metadata(context, turn, verdict)
        return _response(request, verdict, mask_in_segment=target is not None)


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, details: str) -> NoReturn:
    if len(details) > _MAX_DETAILS:
        # A client's own name, most likely, in the middle of a sentence.
        half = _MAX_DETAILS // 2
        details = f"{details[:half]} ... {details[-half:]}"
    context.abort(code, details)
    raise AssertionError("abort raises")


def _fields(model: ModelDescription) -> Any:
    return {
        "model_component": model.component,
        "lookout_vision_model_arn": model.arn,
        "status": model.state.status,
        "status_message": model.state.message,
    }


def _send_metadata(context: grpc.ServicerContext, turn: Turn, verdict: Verdict) -> None:
    timings = verdict.timings
    stages = (turn.waited_ms, timings.preprocess, timings.inference, timings.postprocess)
    metadata = [(TIMINGS_METADATA, ";".join(f"{stage:.3f}" for stage in stages))]
    version = turn.version
    # gRPC refuses to send a metadata value that is not printable ASCII.
    if version is not None and version.isascii() and version.isprintable():
        metadata.append((VERSION_METADATA, version))
    context.set_trailing_metadata(tuple(metadata))


def _response(request: Any, verdict: Verdict, *, mask_in_segment: bool) -> wire.DetectAnomaliesResponse:
    result = wire.DetectAnomalyResult(
        is_anomalous=verdict.is_anomalous,
        confidence=verdict.confidence,
        anomaly_score=verdict.score,
        anomaly_threshold=verdict.threshold,
        anomalies=[
            wire.Anomaly(
                name=anomaly.name,
                pixel_anomaly=wire.PixelAnomaly(total_percentage_area=anomaly.area, hex_color=anomaly.hex_color),
            )
            for anomaly in verdict.anomalies
        ],
    )
    if verdict.mask is not None:
        height, width = verdict.mask.shape[:2]
        result.anomaly_mask.width, result.anomaly_mask.height = width, height
        if mask_in_segment:
            handle = request.anomaly_mask_params.shared_memory_handle
            result.anomaly_mask.shared_memory_handle.name = handle.name
            result.anomaly_mask.shared_memory_handle.offset = handle.offset
            result.anomaly_mask.shared_memory_handle.size = verdict.mask.nbytes
        else:
            result.anomaly_mask.byte_data = verdict.mask.tobytes()
    return wire.DetectAnomaliesResponse(detect_anomaly_result=result)
