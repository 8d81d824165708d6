"""Packages that change while their models run: swapped without a call lost, or refused while the old one serves on."""

from __future__ import annotations

import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, List

import grpc
import numpy as np
import pytest
from PIL import Image
from server.conftest import TIMEOUT, Client, byte_request
from support.neo import child_processes, make_neo_package
from support.packages import make_package, zip_package
from support.waiting import until

from edge_agent.contract import VERSION_METADATA
from edge_agent.server import InferenceUnits, ModelServer
from edge_agent.server.memory import free_bytes
from edge_agent.wire import edge_agent_pb2 as wire

RED = np.full((96, 128, 3), 128, dtype=np.uint8)
RED[20:40, 20:40] = (230, 10, 10)
NOT_SERVED = "a new package is there, but not served: "


class Line(Client):
    """A client beside the server's looks, which the test does itself."""

    def __init__(self, server: ModelServer) -> None:
        super().__init__(server.socket)
        self.socket = server.socket
        self.look = server._watch.look
        self.registry = server._registry

    def swapped(self, name: str, arn: str) -> None:
        """Two looks, and what follows from them."""
        self.look()
        self.look()
        until(lambda: self.describe(name).lookout_vision_model_arn.endswith(arn))

    def refused(self, name: str) -> str:
        """Two looks, and the message that follows from them."""
        self.look()
        self.look()
        until(lambda: self.describe(name).status_message != "")
        until(lambda: not self.registry.slot(name)._swapping)
        return self.describe(name).status_message

    def version(self, name: str) -> Any:
        """The version that computed, as the trailing metadata name it."""
        _, call = self.stub.DetectAnomalies.with_call(byte_request(name, RED), timeout=TIMEOUT)
        return dict(call.trailing_metadata()).get(VERSION_METADATA)


@pytest.fixture
def serve(models: Path, socket_path: str) -> Iterator[Callable[..., Line]]:
    ends: List[Callable[[], None]] = []

    def start(**options: Any) -> Line:
        server = ModelServer(options.pop("models", models), socket_path, **options)
        server.start()
        line = Line(server)
        ends.extend([line.close, lambda: server.stop(5)])
        return line

    yield start
    for end in ends:
        end()


@pytest.fixture
def line(serve: Callable[..., Line]) -> Line:
    line = serve()
    line.start_and_wait("bolts")
    return line


def replace(package: Path, make: Callable[[Path], Any]) -> None:
    """Put another package in the place of one, as docs/server.md has it: made beside, then renamed."""
    beside = package.with_name(f".{package.name}")
    make(beside)
    if package.is_dir():
        shutil.rmtree(package)
    beside.rename(package)


def new_version(version: str, **more: Any) -> Callable[[Path], Any]:
    return lambda path: make_package(path, version=version, **more)


@pytest.mark.parametrize("kind", ["directory", "zip"])
def test_a_new_package_takes_over(models: Path, serve: Any, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    name = models / ("gears" if kind == "directory" else "gears.zip")

    def make(version: str, threshold: float) -> Callable[[Path], Any]:
        def write(path: Path) -> None:
            source = make_package(
                path if kind == "directory" else models.parent / version, version=version, threshold=threshold
            )
            if kind == "zip":
                zip_package(source, path)

        return write

    make("1.0.0", 0.5)(name)
    line = serve()
    line.start_and_wait("gears")
    assert (line.version("gears"), line.detect("gears", RED).anomaly_threshold) == ("1.0.0", 0.5)
    replace(name, make("1.0.1", 0.75))
    line.look()
    assert line.version("gears") == "1.0.0"  # it may still be on its way
    with caplog.at_level("INFO", logger="edge_agent.server.slot"):
        line.swapped("gears", "gears/1.0.1")
    assert (line.version("gears"), line.detect("gears", RED).anomaly_threshold) == ("1.0.1", 0.75)
    arn = "arn:aws:lookoutvision:::model/gears"
    [swapped] = caplog.messages
    assert re.fullmatch(f"gears: {arn}/1.0.1 serves in place of {arn}/1.0.0, on ONNX Runtime [0-9.]+, cpu", swapped)
    assert [(m.lookout_vision_model_arn, m.status) for m in line.models() if m.model_component == "gears"] == [
        (f"{arn}/1.0.1", wire.RUNNING)
    ]
    line.stop("gears")
    line.look()
    line.look()
    assert line.describe("gears").status == wire.STOPPED


def test_a_version_that_only_its_greengrass_component_knows(tmp_path: Path, serve: Any) -> None:
    components = tmp_path / "greengrass" / "packages" / "artifacts-unarchived" / "gears"
    for version in ("1.9.0", "1.10.0"):
        (components / version).mkdir(parents=True)
    make_package(components / "1.9.0" / "model", version=None)
    line = serve(greengrass=tmp_path / "greengrass")
    line.start_and_wait("gears")
    assert line.version("gears") == "1.9.0"
    make_package(components / "1.10.0" / "model", version=None)
    line.swapped("gears", "gears/1.10.0")
    assert line.version("gears") == "1.10.0"
    shutil.rmtree(components / "1.10.0")  # a roll-back
    line.swapped("gears", "gears/1.9.0")
    assert line.version("gears") == "1.9.0"
    shutil.rmtree(components)
    line.look()
    line.look()
    assert line.version("gears") == "1.9.0"


def torn_manifest(package: Path) -> None:
    text = (package / "manifest.json").read_text()
    (package / "manifest.json").write_text(text[: len(text) // 2])


def other_golden_score(package: Path) -> None:
    (package / "golden").mkdir()
    Image.fromarray(RED).save(package / "golden" / "red.png")
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["package"]["golden"] = {"images": [{"file": "golden/red.png", "score": 0.1}]}
    (package / "manifest.json").write_text(json.dumps(manifest))


BROKEN = {
    "manifest": (torn_manifest, "is not valid JSON"),
    "golden score": (other_golden_score, "expected the score 0.1, found"),
    "graph": (lambda package: (package / "mochi" / "model.onnx").write_bytes(b"\x08"), "does not load"),
    "file": (lambda package: (package / "mochi" / "model.onnx").unlink(), "has 0 *.onnx files"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_package_is_never_served(
    models: Path, line: Line, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil, words = BROKEN[broken]

    def make(path: Path) -> None:
        spoil(make_package(path, version="2.0.1"))

    replace(models / "bolts", make)
    message = line.refused("bolts")
    assert message.startswith(NOT_SERVED)
    assert words in message
    described = line.describe("bolts")
    assert (described.status, described.lookout_vision_model_arn[-5:]) == (wire.RUNNING, "2.0.0")
    for _ in range(3):
        line.look()  # it is not tried again
    assert line.version("bolts") == "2.0.0"
    assert [record.message for record in caplog.records] == [f"bolts: {message}"]
    replace(models / "bolts", new_version("2.0.2"))
    line.swapped("bolts", "bolts/2.0.2")
    assert (line.version("bolts"), line.describe("bolts").status_message) == ("2.0.2", "")


def test_a_torn_zip_is_never_served(models: Path, line: Line) -> None:
    zip_package(models / "bolts", models / "gears.zip")
    line.start_and_wait("gears")
    whole = (models / "gears.zip").read_bytes()
    (models / "gears.zip").write_bytes(whole[: len(whole) // 2])
    assert "cannot be unpacked" in line.refused("gears")
    # Its old bytes in a new file are a new package.
    (models / "gears.zip").write_bytes(whole)
    line.look()
    line.look()
    until(lambda: line.describe("gears").status_message == "")
    assert line.version("gears") == "2.0.0"


def test_what_was_put_back_is_what_serves(models: Path, line: Line) -> None:
    (models / "bolts").rename(models.parent / "kept")
    (models / "bolts").mkdir()
    (models / "bolts" / "manifest.json").write_text("{}")
    assert "model_graph: is missing" in line.refused("bolts")
    shutil.rmtree(models / "bolts")
    (models.parent / "kept").rename(models / "bolts")
    serving = line.registry.slot("bolts").turns.pool
    line.look()
    line.look()
    assert line.describe("bolts").status_message == ""
    assert line.registry.slot("bolts").turns.pool is serving


def test_a_package_that_still_changes_is_left_alone(models: Path, line: Line) -> None:
    replace(models / "bolts", new_version("2.0.1"))
    network = models / "bolts" / "mochi" / "model.onnx"
    whole = network.read_bytes()
    for size in (10, 20, len(whole)):
        network.write_bytes(whole[:size])
        line.look()
        assert line.version("bolts") == "2.0.0"
    line.look()
    until(lambda: line.version("bolts") == "2.0.1")


@pytest.mark.parametrize("verb", ["start", "swap"])
def test_a_package_that_changes_while_it_is_loaded_is_not_served(
    models: Path, line: Line, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read may be half of one package and half of another."""
    from edge_agent.server import loading

    real = loading.load_model

    def load_slowly(package: Any, **options: Any) -> Any:
        model = real(package, **options)
        manifest = models / "bolts" / "manifest.json"
        manifest.write_text(manifest.read_text() + "\n")
        return model

    monkeypatch.setattr(loading, "load_model", load_slowly)
    if verb == "start":
        line.stop("bolts")
        assert "changed while it was loaded" in line.start_and_wait("bolts", wire.FAILED).status_message
        return
    replace(models / "bolts", new_version("2.0.1"))
    assert "changed while it was loaded" in line.refused("bolts")
    assert line.version("bolts") == "2.0.0"
    monkeypatch.undo()
    line.swapped("bolts", "bolts/2.0.1")


def test_without_swaps_what_runs_serves_on(models: Path, serve: Any) -> None:
    line = serve(swap=False, autostart=["bolts"])
    line.wait("bolts", wire.RUNNING)
    replace(models / "bolts", new_version("2.0.1"))
    for _ in range(4):
        line.look()
    assert line.version("bolts") == "2.0.0"
    line.stop("bolts")
    line.start_and_wait("bolts")
    assert line.version("bolts") == "2.0.1"


def test_no_call_is_lost_while_versions_change(models: Path, serve: Any) -> None:
    """Three clients without pause; threshold and version must agree in each answer, and never step back."""
    make_package(models / "gears", version="1.0.1", threshold=0.01)
    line = serve(threads=2, units={"gears": InferenceUnits(1, 2)})
    line.start_and_wait("gears")
    over = threading.Event()
    seen: List[List[int]] = [[], [], []]
    failures: List[Any] = []

    def call(mine: List[int]) -> None:
        client = Client(line.socket)
        while not over.is_set():
            try:
                reply, call = client.stub.DetectAnomalies.with_call(byte_request("gears", RED), timeout=TIMEOUT)
            except grpc.RpcError as error:
                failures.append(error)
                return
            version = int(dict(call.trailing_metadata())[VERSION_METADATA].split(".")[2])
            if round(reply.detect_anomaly_result.anomaly_threshold * 100) != version:
                failures.append((version, reply.detect_anomaly_result.anomaly_threshold))
            mine.append(version)
        client.close()

    threads = [threading.Thread(target=call, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    for number in range(2, 8):
        replace(models / "gears", new_version(f"1.0.{number}", threshold=number / 100))
        line.swapped("gears", f"gears/1.0.{number}")
    until(lambda: bool(failures) or all(mine[-1:] == [7] for mine in seen))
    over.set()
    for thread in threads:
        thread.join(TIMEOUT)
    assert failures == []
    assert all(mine == sorted(mine) for mine in seen)


def test_a_compiled_model_is_swapped_and_its_process_goes(models: Path, line: Line) -> None:
    make_neo_package(models / "foreign", top={"package": {"version": "1.0.0"}})
    line.start_and_wait("foreign")
    (old,) = child_processes()
    replace(models / "foreign", lambda path: make_neo_package(path, top={"package": {"version": "1.0.1"}}))
    line.swapped("foreign", "foreign/1.0.1")
    until(lambda: not old.is_running())
    assert line.version("foreign") == "1.0.1"
    assert len(child_processes()) == 1


def test_units_from_the_manifest_and_from_the_server(models: Path, serve: Any) -> None:
    about = {"version": "1.0.0", "min_inference_units": 2, "max_inference_units": 4}
    make_package(models / "gears", top={"package": about})
    make_package(models / "nuts", top={"package": about})
    line = serve(threads=4, units={"nuts": InferenceUnits(1, 2)})
    shares = []
    for name in ("bolts", "gears", "nuts"):
        line.start_and_wait(name)
        shares.append((line.registry.slot(name).turns.pool.share, line.registry.slot(name).turns.pool.size))
    assert shares == [((1, 1, 4), 1), ((2, 4, 1), 2), ((1, 2, 2), 1)]


def test_a_second_engine_comes_from_the_same_files_or_not_at_all(
    models: Path, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    make_package(models / "slow", size=(256, 256), work=30)
    line = serve(threads=2, units={"slow": InferenceUnits(1, 2)})
    line.start_and_wait("slow")
    turns = line.registry.slot("slow").turns
    network = models / "slow" / "mochi" / "model.onnx"
    manifest = (models / "slow" / "manifest.json").read_text()
    (models / "slow" / "manifest.json").write_text(manifest.replace('"1.0.0"', '"1.0.1"'))
    calls = [line.stub.DetectAnomalies.future(byte_request("slow", RED)) for _ in range(6)]
    until(lambda: "slow: stays at 1 engines" in caplog.text)
    assert f"{models / 'slow'}: changed while it was loaded" in caplog.text
    assert {dict(call.trailing_metadata())[VERSION_METADATA] for call in calls} == {"1.0.0"}
    line.swapped("slow", "slow/1.0.1")
    calls = [line.stub.DetectAnomalies.future(byte_request("slow", RED)) for _ in range(6)]
    until(lambda: turns.pool is not None and turns.pool.size == 2)
    assert {dict(call.trailing_metadata())[VERSION_METADATA] for call in calls} == {"1.0.1"}
    assert network.exists()


def make_huge(package: Path) -> None:
    """A file far larger than any memory, of which the disk holds nothing."""
    with (package / "mochi" / "weights.bin").open("wb") as file:
        file.truncate(8 << 40)


def test_a_model_that_no_memory_could_hold_is_refused_at_once(
    models: Path, line: Line, refused: Any, caplog: pytest.LogCaptureFixture
) -> None:
    make_huge(make_package(models / "huge"))
    with refused("RESOURCE_EXHAUSTED", "huge: not enough memory: its largest file has 8388608 MiB, and less is free"):
        line.start("huge")
    assert line.describe("huge").status == wire.STOPPED
    with refused("FAILED_PRECONDITION"):
        line.start("bolts")
    replace(models / "bolts", lambda path: make_huge(make_package(path, version="2.0.1")))
    for _ in range(4):
        line.look()
    described = line.describe("bolts")
    assert described.status_message == (
        f"{NOT_SERVED}bolts: not enough memory: its largest file has 8388608 MiB, and less is free"
    )
    assert caplog.text.count("not enough memory") == 1
    (models / "bolts" / "mochi" / "weights.bin").unlink()
    line.swapped("bolts", "bolts/2.0.1")
    assert line.version("bolts") == "2.0.1"


def test_free_memory_is_the_machines_or_the_control_groups(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    assert free_bytes(proc, groups) is None
    (proc / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 800 kB\nSwapFree: 10 kB\nHugePages_Total: 0\n")
    cgroup = proc / "self" / "cgroup"
    cgroup.write_text("0::/system.slice/agent.service\n")
    assert free_bytes(proc, groups) == 810 * 1024
    group = groups / "system.slice" / "agent.service"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000\n")
    (group / "memory.stat").write_text("anon 700\nactive_file 100\ninactive_file 200\n")
    assert free_bytes(proc, groups) == 810 * 1024
    for name, text in (("max", "400000"), ("current", "1000"), ("stat", "active_file 100\ninactive_file 200\n")):
        (group.parent / f"memory.{name}").write_text(text)
    assert free_bytes(proc, groups) == 400000 - 1000 + 300 + 10 * 1024
    cgroup.write_text("4:memory:/greengrass/model\n3:cpu,cpuacct:/\n0::/\n")
    group = groups / "memory" / "greengrass" / "model"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("9000\n")
    (group / "memory.usage_in_bytes").write_text("8000\n")
    (group / "memory.stat").write_text("active_file 1\ntotal_active_file 500\ntotal_inactive_file 0\n")
    assert free_bytes(proc, groups) == 1500 + 10 * 1024
