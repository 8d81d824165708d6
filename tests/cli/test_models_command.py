"""`edge-agent models` against our server, and against agents that do as AWS's may."""

from __future__ import annotations

import json
from concurrent import futures
from pathlib import Path
from typing import Any, Callable, Iterator, List

import grpc
import pytest
from cli.conftest import Done
from support.packages import make_package

from edge_agent.server import ModelServer
from edge_agent.wire import edge_agent_pb2 as wire
from edge_agent.wire import edge_agent_pb2_grpc

Command = Callable[..., Done]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    make_package(tmp_path / "models" / "bolts", version="2.0.0")
    make_package(tmp_path / "models" / "torn [x]")
    (tmp_path / "models" / "torn [x]" / "mochi" / "model.onnx").write_bytes(b"")
    return tmp_path / "models"


@pytest.fixture
def agent(models: Path, socket_path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    server = ModelServer(models, socket_path)
    server.start()
    monkeypatch.setenv("EDGE_AGENT_SOCKET", socket_path)
    yield server
    server.stop(5)


def statuses(command: Command) -> List[str]:
    models = json.loads(command("models", "list", "--json").out)["models"]
    return [model["status"] for model in models]


@pytest.mark.usefixtures("agent")
def test_start_waits_and_stop_stops_and_both_can_be_repeated(command: Command) -> None:
    assert statuses(command) == ["STOPPED", "STOPPED"]
    for _ in range(2):
        done = command("models", "start", "bolts")
        assert (done.code, done.err) == (0, "")
        assert "RUNNING" in done.out
    assert statuses(command) == ["RUNNING", "STOPPED"]
    for _ in range(2):
        assert "STOPPED" in command("models", "stop", "bolts").out
    assert statuses(command) == ["STOPPED", "STOPPED"]
    started = json.loads(command("models", "start", "--no-wait", "--json", "bolts").out)
    assert started["status"] in ("STARTING", "RUNNING")
    again = command("models", "start", "--no-wait", "bolts")
    assert (again.code, again.err) == (0, "")


@pytest.mark.usefixtures("agent")
def test_what_is_shown_of_a_model(command: Command) -> None:
    shown = command("models", "describe", "bolts").out.split()
    assert shown == ["model", "bolts", "status", "STOPPED", "ARN", "arn:aws:lookoutvision:::model/bolts/2.0.0"]
    assert json.loads(command("models", "describe", "bolts", "--json").out) == {
        "model_component": "bolts",
        "lookout_vision_model_arn": "arn:aws:lookoutvision:::model/bolts/2.0.0",
        "status": "STOPPED",
        "status_message": "",
    }


@pytest.mark.usefixtures("agent")
def test_a_start_that_fails_says_why_and_is_tried_once(command: Command, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    done = command("models", "start", "torn [x]")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: torn [x]: failed to start (")
    assert "model.onnx" in done.err
    assert done.err.count("\n") == 1
    assert sum("torn [x]: STARTING" in record.getMessage() for record in caplog.records) == 1
    row = next(line for line in command("models", "list").out.splitlines() if line.startswith("torn [x]"))
    assert "FAILED" in row
    assert "model.onnx" in row
    stopped = command("models", "stop", "torn [x]")
    assert stopped.code == 1
    assert "its state is FAILED" in stopped.err


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("verb", ["describe", "start", "stop"])
def test_an_unknown_model_is_one_line(command: Command, verb: str) -> None:
    done = command("models", verb, "nuts")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error: nuts: the Edge Agent has no such model (nuts: no model component of this name is deployed). "
        "Deploy it, or correct the name.\n"
    )


@pytest.mark.parametrize("arguments", [["list"], ["describe", "x"], ["start", "x"], ["stop", "x"], ["list", "--json"]])
def test_an_absent_agent_is_one_line(command: Command, socket_path: str, arguments: List[str]) -> None:
    done = command("models", *arguments, "--socket", socket_path)
    assert (done.code, done.out) == (1, "")
    assert f"no Edge Agent answers on {socket_path}. Start it, or correct the socket path." in done.err
    assert done.err.count("\n") == 1


def test_wrong_arguments_are_exit_code_2(command: Command) -> None:
    assert command("models", "start").code == 2
    assert command("models", "start", "x", "--timeout", "0").code == 2
    assert command("models", "restart", "x").code == 2


def test_no_models_at_all(command: Command, tmp_path: Path, socket_path: str) -> None:
    server = ModelServer(tmp_path, socket_path)
    server.start()
    assert command("models", "list", "--socket", socket_path).out == "no models are deployed\n"
    server.stop(5)


class SlowAgent(edge_agent_pb2_grpc.EdgeAgentServicer):
    """Stops with STOPPING, as the GStreamer plug-in's mock agent does, and describes what it is told to."""

    def __init__(self, statuses: List[int]) -> None:
        self.statuses = statuses

    def DescribeModel(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        model = wire.ModelDescription(model_component=request.model_component, status=status)
        return wire.DescribeModelResponse(model_description=model)

    def StartModel(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        return wire.StartModelResponse(status=wire.STARTING)

    def StopModel(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        return wire.StopModelResponse(status=wire.STOPPING)


@pytest.fixture
def slow(socket_path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowAgent]:
    servicer = SlowAgent([wire.STARTING])
    server = grpc.server(futures.ThreadPoolExecutor(4))
    edge_agent_pb2_grpc.add_EdgeAgentServicer_to_server(servicer, server)
    server.add_insecure_port(f"unix:{socket_path}")
    server.start()
    monkeypatch.setenv("EDGE_AGENT_SOCKET", f"unix://{socket_path}")
    yield servicer
    server.stop(None).wait()


def test_a_start_that_takes_too_long(command: Command, slow: SlowAgent) -> None:
    done = command("models", "start", "bolts", "--timeout", "0.3")
    assert (done.code, done.err) == (1, "error: bolts: is STARTING, not RUNNING, after 0.3 s\n")


def test_stop_waits_for_an_agent_that_answers_stopping(command: Command, slow: SlowAgent) -> None:
    slow.statuses = [wire.STOPPING, wire.STOPPING, wire.STOPPED]
    done = command("models", "stop", "bolts", "--json")
    assert (done.code, json.loads(done.out)["status"]) == (0, "STOPPED")
    slow.statuses = [wire.STOPPING]
    done = command("models", "stop", "bolts", "--timeout", "0.3")
    assert (done.code, done.err) == (1, "error: bolts: is STOPPING, not STOPPED, after 0.3 s\n")
