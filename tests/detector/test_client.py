"""The client of the contract, against scripted agents on real gRPC sockets: what AWS's own agent may do as well."""

from __future__ import annotations

import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Type

import grpc
import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.detector import EdgeAgentClient, ModelSession
from edge_agent.errors import (
    DetectorError,
    DetectorTimeoutError,
    ModelFailedError,
    ModelNotFoundError,
    ModelNotRunningError,
    RequestRefusedError,
    ServerBusyError,
    ServerFaultError,
    ServerUnavailableError,
)
from edge_agent.frame import Placement
from edge_agent.shared_memory import Ring, Slot, attach_segment
from edge_agent.wire import edge_agent_pb2 as wire
from edge_agent.wire import edge_agent_pb2_grpc

MODEL = "com.example.Model"


class ScriptedAgent(edge_agent_pb2_grpc.EdgeAgentServicer):
    """Describes the statuses of a list one after the other (the last for ever) and detects as it is told."""

    def __init__(self, statuses: List[int]) -> None:
        self.statuses = statuses
        self.started = 0
        self.on_start: Optional[grpc.StatusCode] = None
        self.detect: Callable[[Any, Any], Any] = lambda _request, _context: wire.DetectAnomaliesResponse()

    def DescribeModel(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        description = wire.ModelDescription(
            model_component=request.model_component, status=status, status_message="out of memory"
        )
        return wire.DescribeModelResponse(model_description=description)

    def StartModel(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        self.started += 1
        if self.on_start is not None:
            context.abort(self.on_start, "cannot be started")
        return wire.StartModelResponse(status=wire.STARTING)

    def DetectAnomalies(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        return self.detect(request, context)


class Agent:
    def __init__(self, socket: Path) -> None:
        self.script = ScriptedAgent([wire.RUNNING])
        self.socket = str(socket)
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        edge_agent_pb2_grpc.add_EdgeAgentServicer_to_server(self.script, self._server)
        self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()
        self.client = EdgeAgentClient(self.socket, deadline_s=2.0)

    def session(self, **options: Any) -> ModelSession:
        return ModelSession(self.client, MODEL, SystemClock(), **options)

    def close(self) -> None:
        self.client.close()
        self._server.stop(None).wait()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent.sock")
    yield made
    made.close()


@pytest.fixture
def slot() -> Iterator[Slot]:
    ring = Ring(1)
    borrowed = ring.acquire()
    assert borrowed is not None
    borrowed.reserve(64, 80)[...] = 5
    yield borrowed
    borrowed.release()
    ring.close()


def _detect(session: ModelSession, slot: Slot) -> Any:
    pixels = slot.reserve(64, 80)
    try:
        return session.detect(pixels, slot.placement(pixels.nbytes))
    finally:
        session.close()


@pytest.mark.parametrize(
    ("statuses", "starts"),
    [
        ([wire.RUNNING], 0),
        ([wire.STOPPED, wire.STARTING, wire.RUNNING], 1),
        ([wire.STOPPING, wire.STOPPED, wire.STARTING, wire.RUNNING], 1),
        ([wire.FAILED, wire.STARTING, wire.RUNNING], 1),
    ],
)
def test_a_model_is_brought_to_running_from_every_state(agent: Agent, statuses: List[int], starts: int) -> None:
    agent.script.statuses = statuses
    agent.session().ensure_running(threading.Event())
    assert agent.script.started == starts


def test_another_client_that_started_it_first_does_no_harm(agent: Agent) -> None:
    agent.script.statuses = [wire.STOPPED, wire.STARTING, wire.RUNNING]
    agent.script.on_start = grpc.StatusCode.FAILED_PRECONDITION
    agent.session().ensure_running(threading.Event())


def test_a_model_that_fails_twice_is_given_up_with_its_message(agent: Agent) -> None:
    agent.script.statuses = [wire.FAILED, wire.STARTING, wire.FAILED]
    with pytest.raises(ModelFailedError, match="out of memory"):
        agent.session().ensure_running(threading.Event())
    assert agent.script.started == 1


def test_waiting_for_running_is_bounded_and_can_be_ended(agent: Agent) -> None:
    agent.script.statuses = [wire.STOPPING]
    with pytest.raises(DetectorTimeoutError, match="STOPPING, not RUNNING"):
        agent.session(start_timeout_s=0.3).ensure_running(threading.Event())
    ended = threading.Event()
    ended.set()
    with pytest.raises(DetectorTimeoutError, match="was ended"):
        agent.session().ensure_running(ended)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.NOT_FOUND, ModelNotFoundError),
        (grpc.StatusCode.FAILED_PRECONDITION, ModelNotRunningError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ServerBusyError),
        (grpc.StatusCode.INVALID_ARGUMENT, RequestRefusedError),
        (grpc.StatusCode.INTERNAL, ServerFaultError),
        (grpc.StatusCode.UNKNOWN, ServerFaultError),
        (grpc.StatusCode.UNAVAILABLE, ServerUnavailableError),
    ],
)
def test_each_status_code_is_its_own_error_with_the_agents_words(
    agent: Agent, slot: Slot, code: grpc.StatusCode, error: Type[DetectorError]
) -> None:
    agent.script.detect = lambda _request, context: context.abort(code, "the agent's words")
    with pytest.raises(error) as caught:
        _detect(agent.session(), slot)
    assert caught.value.subject == MODEL
    if code is not grpc.StatusCode.UNAVAILABLE:
        assert "the agent's words" in str(caught.value)
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_an_unimplemented_call_is_a_fault_of_the_agent(agent: Agent) -> None:
    with pytest.raises(ServerFaultError, match="UNIMPLEMENTED"):
        agent.client.list_models()


def test_no_answer_within_the_deadline_is_a_timeout(agent: Agent, slot: Slot) -> None:
    hold = threading.Event()

    def late(_request: Any, _context: Any) -> Any:
        hold.wait(10)
        return wire.DetectAnomaliesResponse()

    agent.script.detect = late
    quick = EdgeAgentClient(agent.socket, deadline_s=0.3)
    started = time.monotonic()
    with pytest.raises(DetectorTimeoutError, match=r"within 0\.3 s"):
        _detect(ModelSession(quick, MODEL, SystemClock()), slot)
    assert time.monotonic() - started < 5
    hold.set()
    quick.close()


def test_a_missing_a_foreign_and_a_stale_socket_are_unavailable(tmp_path: Path) -> None:
    foreign = tmp_path / "file.sock"
    foreign.write_text("no socket")
    stale = Agent(tmp_path / "stale.sock")
    stale.close()
    for path in (tmp_path / "absent.sock", foreign, Path(stale.socket)):
        client = EdgeAgentClient(str(path), deadline_s=2.0)
        with pytest.raises(ServerUnavailableError, match=str(path)):
            client.describe(MODEL)
        client.close()


def test_a_mask_in_the_segment_is_read_from_it(agent: Agent, slot: Slot) -> None:
    def draw(request: Any, _context: Any) -> Any:
        handle = request.anomaly_mask_params.shared_memory_handle
        segment = attach_segment(handle.name, writable=True)
        segment.pixels(handle.offset, 64, 80)[...] = (1, 2, 3)
        segment.close()
        reply = wire.DetectAnomaliesResponse()
        result = reply.detect_anomaly_result
        result.confidence = 0.75
        result.anomaly_mask.width, result.anomaly_mask.height = 80, 64
        result.anomaly_mask.shared_memory_handle.CopyFrom(handle)
        return reply

    agent.script.detect = draw
    session = agent.session()
    pixels = slot.reserve(64, 80)
    found = session.detect(pixels, slot.placement(pixels.nbytes))
    mask = session.mask_pixels(found)
    session.close()
    assert mask is not None
    assert np.array_equal(mask, np.full((64, 80, 3), (1, 2, 3), np.uint8))
    assert found.confidence == 0.75


def test_an_agent_whose_mask_is_larger_than_the_frame_gets_room_for_it(agent: Agent, slot: Slot) -> None:
    sizes: List[int] = []

    def large(request: Any, context: Any) -> Any:
        reply = wire.DetectAnomaliesResponse()
        mask = reply.detect_anomaly_result.anomaly_mask
        mask.width, mask.height = 200, 100
        if request.HasField("anomaly_mask_params"):
            handle = request.anomaly_mask_params.shared_memory_handle
            sizes.append(handle.size)
            if handle.size < 200 * 100 * 3:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the segment is too small")
            mask.shared_memory_handle.CopyFrom(handle)
        else:
            mask.byte_data = b"\x07" * (200 * 100 * 3)
        return reply

    agent.script.detect = large
    session = agent.session()
    pixels = slot.reserve(64, 80)
    first = session.detect(pixels, slot.placement(pixels.nbytes))
    mask = session.mask_pixels(first)
    assert mask is not None
    assert mask.shape == (100, 200, 3)
    second = session.detect(pixels, slot.placement(pixels.nbytes))
    session.close()
    assert first.mask is not None
    assert second.mask is None
    assert sizes == [64 * 80 * 3, 200 * 100 * 3]


def test_bytes_carry_the_pixels_and_no_segment_is_offered(agent: Agent, slot: Slot) -> None:
    seen: List[Any] = []

    def remember(request: Any, _context: Any) -> Any:
        seen.append(request)
        return wire.DetectAnomaliesResponse()

    agent.script.detect = remember
    _detect(agent.session(by_bytes=True), slot)
    assert seen[0].bitmap.byte_data == b"\x05" * (64 * 80 * 3)
    assert not seen[0].HasField("anomaly_mask_params")


@pytest.mark.parametrize("confidence", [-0.1, 1.5, float("nan")])
def test_a_confidence_outside_0_to_1_breaks_the_contract(agent: Agent, slot: Slot, confidence: float) -> None:
    reply = wire.DetectAnomaliesResponse()
    reply.detect_anomaly_result.confidence = confidence
    agent.script.detect = lambda _request, _context: reply
    with pytest.raises(ServerFaultError, match="confidence"):
        _detect(agent.session(), slot)


def test_a_message_above_grpcs_own_limit_is_refused_not_busy(agent: Agent) -> None:
    # The scripted agent keeps gRPC's 4 MiB limit, whose status code is that of back-pressure.
    with pytest.raises(RequestRefusedError, match="larger than max"):
        agent.client.detect(MODEL, width=1200, height=1200, image=bytes(1200 * 1200 * 3))


def test_a_closed_client_is_unavailable(agent: Agent) -> None:
    client = EdgeAgentClient(agent.socket)
    client.close()
    with pytest.raises(ServerUnavailableError, match="closed"):
        client.detect(MODEL, width=64, height=64, image=Placement("/x", 0, 1))
