"""A real server on a temporary socket, and a client that knows nothing of ours but the generated stubs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import grpc
import numpy as np
import pytest
from support.packages import make_package

from edge_agent.server import ModelServer
from edge_agent.wire import edge_agent_pb2 as wire
from edge_agent.wire import edge_agent_pb2_grpc

LARGE = [("grpc.max_send_message_length", 64 << 20), ("grpc.max_receive_message_length", 64 << 20)]
TIMEOUT = 30


class Client:
    """The stub, and a few lines that every caller of an Edge Agent writes."""

    def __init__(self, socket: str, options: Any = ()) -> None:
        self.channel = grpc.insecure_channel(f"unix:{socket}", options=options)
        self.stub: Any = edge_agent_pb2_grpc.EdgeAgentStub(self.channel)

    def close(self) -> None:
        self.channel.close()

    def describe(self, name: str) -> Any:
        return self.stub.DescribeModel(
            wire.DescribeModelRequest(model_component=name), timeout=TIMEOUT
        ).model_description

    def start(self, name: str) -> int:
        return self.stub.StartModel(wire.StartModelRequest(model_component=name), timeout=TIMEOUT).status

    def stop(self, name: str) -> int:
        return self.stub.StopModel(wire.StopModelRequest(model_component=name), timeout=TIMEOUT).status

    def models(self) -> Any:
        return self.stub.ListModels(wire.ListModelsRequest(), timeout=TIMEOUT).models

    def start_and_wait(self, name: str, status: int = wire.RUNNING) -> Any:
        assert self.start(name) == wire.STARTING
        return self.wait(name, status)

    def wait(self, name: str, status: int) -> Any:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            described = self.describe(name)
            if described.status == status:
                return described
            assert described.status == wire.STARTING, described
            time.sleep(0.01)
        raise AssertionError(f"{name} did not reach {wire.ModelStatus.Name(status)}")

    def detect(self, name: str, pixels: np.ndarray, **more: Any) -> Any:
        return self.send(byte_request(name, pixels), **more).detect_anomaly_result

    def send(self, request: Any, **more: Any) -> Any:
        return self.stub.DetectAnomalies(request, timeout=more.pop("timeout", TIMEOUT), **more)


def byte_request(name: str, pixels: np.ndarray) -> Any:
    height, width = pixels.shape[:2]
    bitmap = wire.Bitmap(width=width, height=height, byte_data=pixels.tobytes())
    return wire.DetectAnomaliesRequest(model_component=name, bitmap=bitmap)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    directory.mkdir()
    make_package(directory / "bolts", version="2.0.0")
    return directory


@pytest.fixture
def socket_path() -> Iterator[str]:
    """A path short enough for a socket wherever the tests' temporary directory lies."""
    directory = tempfile.mkdtemp(prefix="ea-")
    yield f"{directory}/agent.sock"
    shutil.rmtree(directory)


@pytest.fixture
def server(models: Path, socket_path: str) -> Iterator[ModelServer]:
    server = ModelServer(models, socket_path, threads=1)
    server.start()
    yield server
    server.stop(5)


@pytest.fixture
def client(server: ModelServer) -> Iterator[Client]:
    client = Client(server.socket, LARGE)
    yield client
    client.close()


@pytest.fixture
def refused() -> Callable[..., Any]:
    """A context that expects a status by name, and a text in its details."""

    @contextlib.contextmanager
    def expect(code: str, text: str = "") -> Iterator[None]:
        with pytest.raises(grpc.RpcError) as caught:
            yield
        error: Any = caught.value
        assert error.code().name == code, error
        assert text in error.details()
        assert "Traceback" not in error.details()

    return expect


class PlainSegment:
    """What an old C++ client does: shm_open with a leading slash, mode 0666, ftruncate, write, unlink at the end."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._path = "/dev/shm" + name
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o666)
        os.ftruncate(self._descriptor, size)

    def write(self, data: bytes, offset: int = 0) -> None:
        os.pwrite(self._descriptor, data, offset)

    def read(self, size: int, offset: int = 0) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def resize(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def blocks(self) -> int:
        """How many blocks of 512 bytes are behind it."""
        return os.fstat(self._descriptor).st_blocks

    def exists(self) -> bool:
        return os.path.exists(self._path)  # noqa: PTH110 - a name in shared memory

    def unlink(self) -> None:
        os.close(self._descriptor)
        os.unlink(self._path)  # noqa: PTH108 - a name in shared memory


@pytest.fixture
def segment() -> Iterator[Callable[[int], PlainSegment]]:
    """Makes segments and removes them; they must still be there: the server unlinks nothing."""
    made = []

    def make(size: int, name: str = "") -> PlainSegment:
        made.append(PlainSegment(name or f"/plain-{os.getpid()}-{len(made)}", size))
        return made[-1]

    yield make
    for one in made:
        assert one.exists()
        one.unlink()
