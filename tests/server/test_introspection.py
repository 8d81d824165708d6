"""grpc.health.v1 and server reflection, as any tool for gRPC asks them; and a server without their packages."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Set

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from server.conftest import TIMEOUT, Client
from support.packages import make_package

from edge_agent.server import ModelServer
from edge_agent.wire import edge_agent_pb2 as wire

CONTRACT = "AWS.LookoutVision.EdgeAgent"
STATES = health_pb2.HealthCheckResponse


class Health:
    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = health_pb2_grpc.HealthStub(channel)

    def check(self, service: str) -> str:
        reply = self._stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)
        return STATES.ServingStatus.Name(reply.status)

    def list(self) -> Dict[str, str]:
        reply = self._stub.List(health_pb2.HealthListRequest(), timeout=TIMEOUT)
        return {name: STATES.ServingStatus.Name(answer.status) for name, answer in reply.statuses.items()}

    def watch(self, service: str) -> Any:
        return self._stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)


def next_state(stream: Any) -> str:
    return STATES.ServingStatus.Name(next(stream).status)


@pytest.fixture
def health(client: Client) -> Health:
    return Health(client.channel)


def test_the_server_and_its_services_are_serving(health: Health) -> None:
    for service in ("", CONTRACT, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"):
        assert health.check(service) == "SERVING"


def test_a_model_is_serving_while_it_runs(client: Client, health: Health) -> None:
    assert health.check("bolts") == "NOT_SERVING"
    client.start_and_wait("bolts")
    assert health.check("bolts") == "SERVING"
    client.stop("bolts")
    assert health.check("bolts") == "NOT_SERVING"


@pytest.mark.skipif(not hasattr(health_pb2, "HealthListRequest"), reason="newer than this grpcio-health-checking")
def test_all_states_at_once(client: Client, models: Path, health: Health) -> None:
    make_package(models / "idle")
    client.start_and_wait("bolts")
    assert health.list() == {
        "": "SERVING",
        CONTRACT: "SERVING",
        "grpc.health.v1.Health": "SERVING",
        "grpc.reflection.v1alpha.ServerReflection": "SERVING",
        "bolts": "SERVING",
        "idle": "NOT_SERVING",
    }


def test_a_failed_model_is_not_serving(models: Path, client: Client, health: Health) -> None:
    (models / "bolts" / "mochi" / "model.onnx").write_bytes(b"no model")
    client.start_and_wait("bolts", wire.FAILED)
    assert health.check("bolts") == "NOT_SERVING"
    assert health.check("") == "SERVING"


def test_an_unknown_service_is_not_found(health: Health, refused: Any) -> None:
    with refused("NOT_FOUND", "nuts: no service and no model component"):
        health.check("nuts")


def test_a_watch_tells_each_change_and_the_end(server: ModelServer, client: Client, health: Health) -> None:
    model, overall, unknown = health.watch("bolts"), health.watch(""), health.watch("nuts")
    assert [next_state(stream) for stream in (model, overall, unknown)] == ["NOT_SERVING", "SERVING", "SERVICE_UNKNOWN"]
    client.start_and_wait("bolts")
    assert next_state(model) == "SERVING"
    client.stop("bolts")
    assert next_state(model) == "NOT_SERVING"
    server.stop(5)
    assert next_state(overall) == "NOT_SERVING"
    for stream in (model, overall, unknown):
        assert list(stream) == []


def test_streams_leave_room_for_calls_and_are_given_back(client: Client, health: Health, refused: Any) -> None:
    client.start_and_wait("bolts")
    streams = [health.watch("") for _ in range(8)]
    assert {next_state(stream) for stream in streams} == {"SERVING"}
    with refused("RESOURCE_EXHAUSTED", "8 streams are open already"):
        next(health.watch(""))
    assert client.describe("bolts").status == wire.RUNNING
    for stream in streams:
        stream.cancel()
    deadline = time.monotonic() + TIMEOUT
    state = ""
    while not state:
        with contextlib.suppress(grpc.RpcError):
            state = next_state(health.watch(""))
        assert time.monotonic() < deadline, "cancelled streams keep their places"
        time.sleep(0.01)
    assert state == "SERVING"


class Reflection:
    """A client that knows nothing of the contract but the name of its service."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = reflection_pb2_grpc.ServerReflectionStub(channel)

    def ask(self, **question: Any) -> Any:
        request = reflection_pb2.ServerReflectionRequest(**question)
        return next(self._stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT))

    def services(self) -> Set[str]:
        return {service.name for service in self.ask(list_services="").list_services_response.service}

    def files(self, symbol: str) -> List[Any]:
        reply = self.ask(file_containing_symbol=symbol).file_descriptor_response
        return [descriptor_pb2.FileDescriptorProto.FromString(data) for data in reply.file_descriptor_proto]


def test_reflection_is_enough_to_call_the_contract(client: Client) -> None:
    client.start_and_wait("bolts")
    reflection = Reflection(client.channel)
    assert reflection.services() == {
        CONTRACT,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    pool = descriptor_pool.DescriptorPool()
    for file in reversed(reflection.files(CONTRACT)):
        pool.Add(file)
    service = pool.FindServiceByName(CONTRACT)
    messages: Dict[str, Set[str]] = {
        method.name: {field.name for field in method.input_type.fields} for method in service.methods
    }
    assert messages == {
        "DetectAnomalies": {"model_component", "bitmap", "anomaly_mask_params"},
        "StartModel": {"model_component"},
        "StopModel": {"model_component"},
        "ListModels": set(),
        "DescribeModel": {"model_component"},
    }
    method = service.methods_by_name["DescribeModel"]
    request = message_factory.GetMessageClass(method.input_type)(model_component="bolts")
    call = client.channel.unary_unary(
        f"/{CONTRACT}/DescribeModel",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    described = call(request, timeout=TIMEOUT).model_description
    states = pool.FindEnumTypeByName("AWS.LookoutVision.ModelStatus").values_by_number
    assert (described.model_component, states[described.status].name) == ("bolts", "RUNNING")


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("grpc_health", "grpc_reflection")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grpc_health", None)
    monkeypatch.setitem(sys.modules, "grpc_reflection", None)


def test_a_server_without_the_packages_says_so_once_and_serves(
    without_packages: None, models: Path, socket_path: str, refused: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = ModelServer(models, socket_path)
    server.start()
    client = Client(socket_path)
    client.start_and_wait("bolts")
    for name, ask in (("health", Health(client.channel).check), ("reflection", Reflection(client.channel).files)):
        with refused("UNIMPLEMENTED"):
            ask(CONTRACT)
        assert sum(name in record.getMessage() for record in caplog.records) == 1
    assert "pip install 'edge-agent[server]'" in caplog.text
    client.close()
    server.stop(5)
