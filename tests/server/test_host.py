"""The server in the file system and as a process: socket, lock, signals, kill -9."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Union

import grpc
import numpy as np
import pytest
from server.conftest import Client, byte_request
from support.packages import make_package

from edge_agent.errors import ServerError, SocketInUseError
from edge_agent.server import ModelServer
from edge_agent.wire import edge_agent_pb2 as wire

GREY = np.full((64, 64, 3), 128, dtype=np.uint8)


def files_beside(path: Union[str, Path]) -> List[str]:
    return sorted(entry.name for entry in Path(path).parent.iterdir())


def test_rights_and_what_is_left(models: Path, socket_path: str) -> None:
    old = os.umask(0o022)
    try:
        server = ModelServer(models, f"unix://{socket_path}", threads=1)
        server.start()
    finally:
        os.umask(old)
    assert server.socket == socket_path
    status = os.lstat(socket_path)
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o660
    server.stop(1)
    server.stop(1)  # twice is harmless
    assert files_beside(socket_path) == []


def test_a_second_server_is_refused_and_the_first_serves_on(server: ModelServer, models: Path, client: Client) -> None:
    with pytest.raises(SocketInUseError, match="another Edge Agent serves on this socket"):
        ModelServer(models, server.socket, threads=1).start()
    assert len(client.models()) == 1


def test_the_second_socket_serves_too_and_goes_with_the_first(models: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "own.sock", tmp_path / "theirs.sock"
    server = ModelServer(models, str(first), threads=1, second_socket=str(second))
    server.start()
    for path in (first, second):
        client = Client(str(path))
        assert len(client.models()) == 1
        client.close()
        assert stat.S_IMODE(path.lstat().st_mode) == 0o660
    server.stop(1)
    assert not list(tmp_path.glob("*.sock*"))


def test_a_second_socket_that_another_agent_has_is_left_to_it(
    server: ModelServer, models: Path, client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = ModelServer(models, str(tmp_path / "own.sock"), threads=1, second_socket=server.socket)
    other.start()
    other.stop(1)
    assert "not serving on the second socket" in caplog.text
    assert len(client.models()) == 1


def test_a_foreign_agent_that_knows_no_lock_is_noticed(models: Path, socket_path: str) -> None:
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(socket_path)
        foreign.listen(1)
        with pytest.raises(SocketInUseError):
            ModelServer(models, socket_path, threads=1).start()
    assert files_beside(socket_path) == ["agent.sock"]


def test_a_stale_socket_is_replaced(models: Path, socket_path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(socket_path)
    server = ModelServer(models, socket_path, threads=1)
    server.start()
    client = Client(socket_path)
    assert len(client.models()) == 1
    client.close()
    server.stop(1)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_stays(models: Path, socket_path: str, kind: str) -> None:
    path = Path(socket_path)
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(models)
    before = path.lstat()
    with pytest.raises(ServerError, match="exists and is no socket"):
        ModelServer(models, socket_path, threads=1).start()
    assert path.lstat() == before or kind == "directory"
    assert files_beside(path) == ["agent.sock"]


def test_paths_that_cannot_be(models: Path, socket_path: str) -> None:
    with pytest.raises(ServerError, match="too long for a Unix socket"):
        ModelServer(models, f"{Path(socket_path).parent}/{'x' * 100}.sock", threads=1).start()
    with pytest.raises(ServerError, match="directory that does not exist"):
        ModelServer(models, f"{Path(socket_path).parent}/none/agent.sock", threads=1).start()
    with pytest.raises(ServerError, match="is no directory of models"):
        ModelServer(models / "none", socket_path, threads=1).start()
    assert files_beside(socket_path) == []


def test_only_our_own_socket_is_removed(models: Path, socket_path: str) -> None:
    server = ModelServer(models, socket_path, threads=1)
    server.start()
    Path(socket_path).unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(socket_path)
        other.listen(1)
        server.stop(1)
        assert files_beside(socket_path) == ["agent.sock"]


class Process:
    """`edge-agent serve` as a process of its own."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "serve", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def wait_ready(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self, sent: Optional[signal.Signals] = None) -> str:
        if sent is not None:
            self.process.send_signal(sent)
        _, errors = self.process.communicate(timeout=60)
        return errors


@pytest.fixture
def serve() -> Iterator[Callable[..., Process]]:
    started: List[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        started.append(Process(*arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def segments_of(process: Process) -> List[Path]:
    """Shared memory that a server process made; other processes use /dev/shm at the same time."""
    return list(Path("/dev/shm").glob(f"*{process.process.pid}*"))


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_0(models: Path, socket_path: str, serve: Any, sent: signal.Signals) -> None:
    make_package(models / "slow", size=(256, 256), work=60)
    process = serve("--models", str(models), "--socket", socket_path, "--threads", "1")
    assert process.wait_ready().rstrip().endswith(f"serving 2 models on {socket_path}")
    client = Client(socket_path)
    client.start_and_wait("slow")
    calls = [client.stub.DetectAnomalies.future(byte_request("slow", GREY)) for _ in range(3)]
    calls[0].result(timeout=30)  # the others have arrived by now
    process.process.send_signal(sent)
    for call in calls:
        assert not call.result(timeout=30).detect_anomaly_result.is_anomalous
    errors = process.end()
    assert process.process.returncode == 0, errors
    with pytest.raises(grpc.RpcError) as caught:
        client.models()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    client.close()
    starting, running = [line.split("edge_agent.")[1] for line in errors.splitlines()]
    assert starting == "server.slot: slow: STARTING"
    assert running.startswith("server.slot: slow: RUNNING on ONNX Runtime ")
    assert files_beside(socket_path) == []
    assert segments_of(process) == []


def test_killed_and_started_again(models: Path, socket_path: str, serve: Any, segment: Any) -> None:
    image = segment(64 * 64 * 3)
    image.write(GREY.tobytes())
    handle = wire.SharedMemoryHandle(name=image.name, size=image.size)
    bitmap = wire.Bitmap(width=64, height=64, shared_memory_handle=handle)
    request = wire.DetectAnomaliesRequest(model_component="bolts", bitmap=bitmap)
    arguments = ("--models", str(models), "--socket", socket_path, "--threads", "1")
    for _ in range(2):
        process = serve(*arguments)
        process.wait_ready()
        client = Client(socket_path)
        assert client.describe("bolts").status == wire.STOPPED
        client.start_and_wait("bolts")
        assert not client.send(request).detect_anomaly_result.is_anomalous
        process.end(signal.SIGKILL)
        with pytest.raises(grpc.RpcError) as caught:
            client.send(request, timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        client.close()
        assert segments_of(process) == []
    assert image.read(image.size) == GREY.tobytes()


def test_settings_from_the_environment(models: Path, socket_path: str, serve: Any) -> None:
    settings: Dict[str, str] = {
        "EDGE_AGENT_MODELS": str(models),
        "EDGE_AGENT_SOCKET": f"unix:{socket_path}",
        "EDGE_AGENT_THREADS": "",
        "EDGE_AGENT_GREENGRASS": "",
        "EDGE_AGENT_AUTOSTART": "",
        "EDGE_AGENT_PROVIDERS": "no-tensorrt, no-cuda",
        "EDGE_AGENT_TENSORRT_CACHE": "",
        "EDGE_AGENT_UNITS": "",
        "EDGE_AGENT_SWAP": "",
    }
    process = serve(**settings)
    assert f"serving 1 models on {socket_path}" in process.wait_ready()
    process.end(signal.SIGTERM)
    assert process.process.returncode == 0


def test_mistakes_are_one_line(models: Path, socket_path: str, serve: Any) -> None:
    missing = serve("--socket", socket_path, EDGE_AGENT_MODELS="")
    assert "Missing option '--models' or '--greengrass'" in missing.end()
    assert missing.process.returncode == 2
    unknown = serve("--models", str(models), "--socket", socket_path, "--providers", "cuda,gpu")
    assert "'gpu' is no provider: choose from tensorrt, cuda, openvino, cpu" in unknown.end()
    assert unknown.process.returncode == 2
    units = serve("--models", str(models), "--socket", socket_path, EDGE_AGENT_UNITS="bolts=1:2 nuts=2:1")
    assert "units 'nuts=2:1': is not 1 to 64 units, the smaller number first" in units.end()
    assert units.process.returncode == 2
    first = serve("--models", str(models), "--socket", socket_path)
    first.wait_ready()
    second = serve("--models", str(models), "--socket", socket_path)
    errors = second.end()
    assert errors.startswith(f"error: {socket_path}: another Edge Agent serves on this socket")
    assert len(errors.splitlines()) == 1
    assert second.process.returncode == 1


def test_no_answer_takes_long_after_a_stop(server: ModelServer, client: Client) -> None:
    client.start_and_wait("bolts")
    began = time.monotonic()
    server.stop(5)
    assert time.monotonic() - began < 5
