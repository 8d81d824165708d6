"""Models that need Neo's own runtime, for real: child processes with a libdlr.so of ours (support.dlr)."""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import socket
import struct
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, List, cast

import numpy as np
import psutil
import pytest
from support.dlr import Told, make_dlr_package, make_runtime
from support.neo import (
    TRIGGER,
    child_processes,
    compile_library,
    expected_outputs,
    make_neo_package,
    random_tensor,
)
from support.packages import zip_package

from edge_agent.errors import EngineError, ModelError, PackageError
from edge_agent.model import load_model, open_package
from edge_agent.model.engine_dlr import DlrEngine
from edge_agent.model.engine_neo import open_compiled

Open = Callable[..., DlrEngine]


@pytest.fixture
def open_engine() -> Iterator[Open]:
    """Opens a package as the model server does, or (`run_timeout`) with Neo's runtime alone."""
    engines: List[DlrEngine] = []

    def open_one(path: Path, *, threads: int = 1, **options: Any) -> DlrEngine:
        with open_package(path) as package:
            opener = partial(DlrEngine, why="hangs") if options else open_compiled
            engine = opener(package.stage_directory(), package.manifest, threads=threads, **options)
        engines.append(cast(DlrEngine, engine))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()


def told(engine: DlrEngine, what: Told) -> int:
    return int(engine.run(random_tensor(0))[0].ravel()[what])


@pytest.mark.parametrize("kind", ["gpu", "opencl", "relayvm"])
def test_outputs_are_those_of_the_arithmetic(tmp_path: Path, open_engine: Open, kind: str) -> None:
    path = zip_package(make_dlr_package(tmp_path / "bolts", kind=kind), tmp_path / "bolts.zip")
    engine = open_engine(path)  # the unpacked files are gone by now
    assert isinstance(engine, DlrEngine)
    assert engine.output_shapes == ((1, 2, 96, 128), (1, 2))
    for seed in range(10):
        tensor = random_tensor(seed)
        for found, expected in zip(engine.run(tensor), expected_outputs(tensor)):
            np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)
    assert engine.failure is None


def test_a_model_sees_red(tmp_path: Path) -> None:
    with open_package(make_dlr_package(tmp_path / "bolts", kind="relayvm")) as package:
        model = load_model(package, threads=2)
    model.warm_up()
    pixels = np.full((240, 320, 3), 128, np.uint8)
    assert not model.detect(pixels).is_anomalous
    pixels[40:80, 40:120] = (230, 10, 10)
    assert model.detect(pixels).is_anomalous
    model.close()


@pytest.mark.parametrize(("kind", "device"), [("relayvm", 1), ("gpu", 2), ("opencl", 4)])
def test_the_device_is_that_of_the_metadata(tmp_path: Path, open_engine: Open, kind: str, device: int) -> None:
    engine = open_engine(make_dlr_package(tmp_path / "bolts", kind=kind, mood="tell"))
    assert (told(engine, Told.DEVICE_TYPE), told(engine, Told.DEVICE_ID)) == (device, 0)


def test_threads_are_those_of_the_budget_and_bound_to_no_core(
    tmp_path: Path, open_engine: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVM_BIND_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    path = make_dlr_package(tmp_path / "bolts", mood="tell")
    names = ("TVM_NUM_THREADS", "OMP_NUM_THREADS", "TVM_BIND_THREADS", "TVM_THREAD_POOL_SPIN_COUNT")
    engine = open_engine(path, threads=3)
    assert [told(engine, Told[name]) for name in names] == [3, 3, 0, 0]
    monkeypatch.setenv("TVM_THREAD_POOL_SPIN_COUNT", "700")
    assert told(open_engine(path), Told.TVM_THREAD_POOL_SPIN_COUNT) == 700


INTERNET = (Told.INET, Told.INET6, Told.PACKET, Told.VSOCK, Told.INET_IN_A_THREAD, Told.INET_IN_A_NEW_PROCESS)


@pytest.mark.parametrize(("kind", "local"), [("relayvm", errno.EAFNOSUPPORT), ("gpu", 0)])
def test_a_library_that_wants_the_internet_gets_none_and_the_model_runs(
    tmp_path: Path, open_engine: Open, kind: str, local: int
) -> None:
    """Drivers of a GPU speak to their daemons through sockets of the machine; a model on the CPU gets none at all."""
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()  # it is not the machine that refuses
    engine = open_engine(make_dlr_package(tmp_path / "bolts", kind=kind, mood="tell"))
    assert {what.name: told(engine, what) for what in INTERNET} == {what.name: errno.EAFNOSUPPORT for what in INTERNET}
    assert told(engine, Told.IO_URING) == errno.ENOSYS
    assert [told(engine, what) for what in (Told.UNIX, Told.NETLINK)] == [local, local]
    tensor = random_tensor(1)
    np.testing.assert_allclose(engine.run(tensor)[1], expected_outputs(tensor)[1], atol=1e-6, rtol=0)


def test_what_opens_greengrass_is_not_handed_on(
    tmp_path: Path, open_engine: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_dlr_package(tmp_path / "bolts", mood="tell")
    monkeypatch.setenv("SVCUID", "secret")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "secret")
    assert told(open_engine(path), Told.SECRETS) == 0


def test_each_model_has_a_cache_of_its_own(tmp_path: Path, open_engine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("TVM_TENSORRT_CACHE_DIR", str(cache))
    for name, mood, caches in (("bolts", "tell", 1), ("bolts-copy", "tell", 1), ("nuts", "grow", 2)):
        told(open_engine(make_dlr_package(tmp_path / name, mood=mood)), Told.DEVICE_TYPE)
        assert len(list(cache.iterdir())) == caches
    assert [path.name for path in cache.glob("*/*")] == ["tensorrt_0_fp32.plan"]
    monkeypatch.setenv("TVM_TENSORRT_CACHE_DIR", "/proc/nowhere")
    with pytest.raises(EngineError, match="cannot keep its TensorRT engines in /proc/nowhere/"):
        open_engine(tmp_path / "bolts")


def test_a_crash_is_an_error_that_names_the_signal(tmp_path: Path, open_engine: Open) -> None:
    engine = open_engine(make_dlr_package(tmp_path / "bolts", mood="abort"))
    engine.run(random_tensor(0))
    for _ in range(2):
        with pytest.raises(EngineError, match=r"bolts/mochi: its process was ended by SIGABRT \(aborted\)"):
            engine.run(TRIGGER)
    assert engine.failure == "its process was ended by SIGABRT (aborted)"


def test_a_model_that_hangs_is_ended(tmp_path: Path, open_engine: Open) -> None:
    engine = open_engine(make_dlr_package(tmp_path / "bolts", mood="hang"), run_timeout=1.0)
    engine.run(random_tensor(0))
    with pytest.raises(EngineError, match="did not answer in time and was ended"):
        engine.run(TRIGGER)
    assert not psutil.pid_exists(engine.process_id)


@pytest.mark.parametrize(("mood", "message"), [("fail", "the conveyor is on strike"), ("grow", "changed the shape of")])
def test_an_inference_that_fails_ends_the_call_and_not_the_model(
    tmp_path: Path, open_engine: Open, mood: str, message: str
) -> None:
    engine = open_engine(make_dlr_package(tmp_path / "bolts", mood=mood))
    with pytest.raises(EngineError, match=rf"bolts/mochi: .*{message}[^\n]*$"):
        engine.run(TRIGGER)
    assert engine.failure is None
    tensor = random_tensor(0)
    np.testing.assert_allclose(engine.run(tensor)[0], expected_outputs(tensor)[0], atol=1e-6, rtol=0)


LOADS: List[Any] = [
    ({"mood": "abort at once"}, "its process was ended by SIGABRT"),
    ({"mood": "refuse"}, r"CreateDLRModel failed \(TVMError: no kernel image is available\)$"),
    ({"mood": "refuse aloud"}, r"CreateDLRModel failed \(Compiled model requires more\)$"),
    ({"shape": (96, 64)}, r"expected float32 \[1, 3, 96, 128\]; found float32 \[1, 3, 96, 64\]"),
    ({"types": ("uint8", "float32")}, r"found uint8 \[1, 3, 96, 128\]"),
    ({"types": ("float32", "json")}, "has an output of type 'json', which is not supported"),
    ({"types": ("float32", "int64")}, "has an output of int64, not float32"),
    ({"counts": (2, 2)}, r"found float32 \[1, 3, 96, 128\], float32 \[1, 3, 96, 128\]"),
    ({"counts": (0, 2)}, "found none"),
    ({"counts": (1, 1)}, r"do not fit its manifest: expected mask \[1, 2, \?, \?\], class \[1, 2\]; found \[1, 2, 96"),
    ({"counts": (1, 3)}, r"found \[1, 2, 96, 128\], \[1, 2\], \[1, 2\]"),
    ({"counts": (1, 0)}, "has 0 outputs; 1 to 16 are allowed"),
    ({"counts": (1, 10**9)}, "has 1000000000 outputs; 1 to 16 are allowed"),
]


@pytest.mark.parametrize(("options", "message"), LOADS)
def test_what_does_not_load_says_why(tmp_path: Path, open_engine: Open, options: Any, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        open_engine(make_dlr_package(tmp_path / "bolts", **options))
    assert child_processes() == []


def test_an_input_that_the_virtual_machine_does_not_know_is_tried(tmp_path: Path, open_engine: Open) -> None:
    path = make_dlr_package(tmp_path / "bolts", kind="relayvm", shape=(96, 64))
    with pytest.raises(EngineError, match=r"SetDLRInput failed \(Mismatch found in input data size\)"):
        open_engine(path)


def test_what_the_log_says_while_loading_reaches_the_log(
    tmp_path: Path, open_engine: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EngineError):
        open_engine(make_dlr_package(tmp_path / "bolts", mood="refuse aloud"))
    assert "/src/a.cc:1: Loading\n" in capfd.readouterr().err


def test_a_runtime_too_old_for_this_is_refused_by_the_function(tmp_path: Path, open_engine: Open) -> None:
    path = make_dlr_package(tmp_path / "bolts", runtime=make_runtime("-DOLD"))
    with pytest.raises(EngineError, match=r"its libdlr\.so has no GetDLROutputType\. Put one there"):
        open_engine(path)


def test_a_driver_that_is_missing_is_named(tmp_path: Path, open_engine: Open) -> None:
    """As where TensorRT is another release than the one that the model was compiled for."""
    driver = tmp_path / "libnvinfer.so.7"
    driver.write_bytes(compile_library("int nvinfer;", "-Wl,-soname,libnvinfer.so.7"))
    runtime = compile_library("extern int nvinfer; int *use = &nvinfer;", str(driver))
    driver.unlink()
    with pytest.raises(EngineError, match=r"libdlr\.so does not load \(libnvinfer\.so\.7: cannot open.*TensorRT"):
        open_engine(make_dlr_package(tmp_path / "bolts", runtime=runtime))


def elf(machine: int) -> bytes:
    return b"\x7fELF" + bytes(14) + struct.pack("<H", machine)


OTHER = {"x86_64": (183, "aarch64"), "aarch64": (62, "x86_64")}[platform.machine()]
FILES: List[Any] = [
    ({"libdlr.so": None}, EngineError, "takes Neo's own runtime, and there is no libdlr.so beside the model. Put"),
    ({"libdlr.so": b"text"}, PackageError, "libdlr.so is no shared library"),
    ({"libdlr.so": elf(OTHER[0])}, EngineError, f"libdlr.so is compiled for {OTHER[1]}, but this machine is"),
    ({"compiled.so": elf(OTHER[0])}, EngineError, f"compiled.so is compiled for {OTHER[1]}, but this machine is"),
    ({"compiled.meta": b"{"}, PackageError, "has a compiled.meta that is not valid JSON"),
    (
        {"compiled.meta": b'{"Requirements": {"TargetDeviceType": "fpga"}}'},
        EngineError,
        "is compiled for 'fpga', which is none of cpu, gpu, opencl",
    ),
]


@pytest.mark.parametrize(("files", "kind", "message"), FILES)
def test_what_this_machine_cannot_run_is_named(
    tmp_path: Path, open_engine: Open, files: Any, kind: Any, message: str
) -> None:
    path = make_dlr_package(tmp_path / "bolts")
    for name, data in files.items():
        file = path / "mochi" / name
        file.unlink() if data is None else file.write_bytes(data)
    with pytest.raises(kind, match=message):
        open_engine(path)
    assert child_processes() == []


def test_a_runtime_outside_of_the_package_is_refused(tmp_path: Path, open_engine: Open) -> None:
    path = make_dlr_package(tmp_path / "bolts")
    (path / "mochi" / "libdlr.so").rename(tmp_path / "libdlr.so")
    (path / "mochi" / "libdlr.so").symlink_to(tmp_path / "libdlr.so")
    with pytest.raises(PackageError, match="lies outside the package"):
        open_engine(path)


@pytest.mark.parametrize("name", [b"lots:of:colons", b"caf\xe9"])
def test_any_name_of_a_directory_will_do(tmp_path: Path, open_engine: Open, name: bytes) -> None:
    """The runtime itself splits paths at colons."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    assert open_engine(make_dlr_package(path)).failure is None


def test_a_graph_beyond_our_loader_runs_with_the_runtime_of_its_package(tmp_path: Path, open_engine: Open) -> None:
    graph = make_neo_package(tmp_path / "bolts", mood="ask for a function") / "mochi"
    stage = make_dlr_package(tmp_path / "other") / "mochi"
    for name in ("libdlr.so", "behaviour"):
        (stage / name).replace(graph / name)
    engine = open_engine(graph.parent)
    assert isinstance(engine, DlrEngine)
    tensor = random_tensor(0)
    np.testing.assert_allclose(engine.run(tensor)[0], expected_outputs(tensor)[0], atol=1e-6, rtol=0)
    (graph / "libdlr.so").unlink()
    with pytest.raises(
        EngineError, match="bolts/mochi: fused_mask calls TVMBackendGetFuncFromEnv; that takes Neo's own runtime"
    ):
        open_engine(graph.parent)


def test_a_graph_for_the_cpu_stays_with_our_loader(tmp_path: Path, open_engine: Open) -> None:
    assert not isinstance(open_engine(make_neo_package(tmp_path / "bolts")), DlrEngine)


def test_the_graph_of_another_device_is_that_runtimes(tmp_path: Path, open_engine: Open) -> None:
    """Without metadata there is no telling which, so the runtime decides."""
    path = make_neo_package(tmp_path / "bolts")
    file = path / "mochi" / "compiled_model.json"
    document = json.loads(file.read_text())
    document["attrs"]["device_index"][1][3] = 2
    file.write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"bolts/mochi: libdlr\.so is no shared library"):
        open_engine(path)


def test_signals_to_the_whole_group_are_the_servers(tmp_path: Path, open_engine: Open) -> None:
    engine = open_engine(make_dlr_package(tmp_path / "bolts"))
    os.kill(engine.process_id, signal.SIGTERM)
    os.kill(engine.process_id, signal.SIGINT)
    engine.run(random_tensor(0))
