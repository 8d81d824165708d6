"""Neo's own runtime, the real one, with models for it: a graph that TVM compiled, and code of ours by TVM's ABI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Callable, Iterator, List

import numpy as np
import psutil
import pytest
from support.neo import TRIGGER, expected_outputs, make_neo_package, random_tensor
from support.real_dlr import real_runtime
from support.relay_vm import make_relay_vm_package

from edge_agent.errors import EngineError
from edge_agent.model import open_package
from edge_agent.model.engine import Engine
from edge_agent.model.engine_dlr import DlrEngine
from edge_agent.model.engine_neo import open_compiled

Open = Callable[..., Engine]


@pytest.fixture(scope="module")
def runtime() -> bytes:
    return real_runtime()


@pytest.fixture
def open_engine() -> Iterator[Open]:
    engines: List[Engine] = []

    def open_one(path: Path, *, opener: Callable[..., Engine] = open_compiled, threads: int = 1) -> Engine:
        with open_package(path) as package:
            engines.append(opener(package.stage_directory(), package.manifest, threads=threads))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()


def check(engine: Engine) -> None:
    assert isinstance(engine, DlrEngine)
    for seed in range(5):
        tensor = random_tensor(seed)
        for found, expected in zip(engine.run(tensor), expected_outputs(tensor)):
            np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("threads", [1, 2])
def test_equals_what_tvm_computed(
    tmp_path: Path, shared_data: Path, runtime: bytes, open_engine: Open, threads: int
) -> None:
    source = shared_data / "neo" / "mochi-x86_64"
    if not source.is_dir():
        pytest.skip("the compiled package is not here")
    path = Path(shutil.copytree(source, tmp_path / "bolts", copy_function=shutil.copyfile))
    (path / "mochi").chmod(0o755)
    (path / "mochi" / "libdlr.so").write_bytes(runtime)
    expected = np.load(path / "expected.npz")
    mask, classes = open_engine(path, opener=partial(DlrEngine, why="is compared"), threads=threads).run(
        expected["input"]
    )
    np.testing.assert_allclose(mask, expected["mask"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(classes, expected["class"], atol=1e-5, rtol=0)


def test_a_model_for_the_virtual_machine(tmp_path: Path, runtime: bytes, open_engine: Open) -> None:
    check(open_engine(make_relay_vm_package(tmp_path / "bolts", runtime=runtime)))


def test_a_graph_that_asks_the_runtime_for_a_function(tmp_path: Path, runtime: bytes, open_engine: Open) -> None:
    path = make_neo_package(tmp_path / "bolts", mood="ask for a function")
    (path / "mochi" / "libdlr.so").write_bytes(runtime)
    check(open_engine(path))


def test_what_it_says_comes_without_its_stack_trace(tmp_path: Path, runtime: bytes, open_engine: Open) -> None:
    engine = open_engine(make_relay_vm_package(tmp_path / "bolts", runtime=runtime, mood="fail"))
    with pytest.raises(EngineError, match=r"RunDLRModel failed \([^\n]*the conveyor is on strike\)$"):
        engine.run(TRIGGER)
    check(engine)


def test_a_crash_of_its_operators_names_the_signal(tmp_path: Path, runtime: bytes, open_engine: Open) -> None:
    engine = open_engine(make_relay_vm_package(tmp_path / "bolts", runtime=runtime, mood="abort"))
    with pytest.raises(EngineError, match="was ended by SIGABRT"):
        engine.run(TRIGGER)


def test_a_file_that_is_torn_is_one_error(tmp_path: Path, runtime: bytes, open_engine: Open) -> None:
    """The runtime writes the reason to its log alone."""
    path = make_relay_vm_package(tmp_path / "bolts", runtime=runtime)
    file = path / "mochi" / "code.ro"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(EngineError, match=r"CreateDLRModel failed \([^\n]*Invalid VM file format[^\n]*\)$"):
        open_engine(path)


@pytest.mark.parametrize("threads", [1, 3])
def test_its_threads_are_counted_and_bound_to_no_core(
    tmp_path: Path, runtime: bytes, open_engine: Open, threads: int
) -> None:
    engine = open_engine(make_relay_vm_package(tmp_path / "bolts", runtime=runtime), threads=threads)
    check(engine)
    assert isinstance(engine, DlrEngine)
    found = [thread.id for thread in psutil.Process(engine.process_id).threads()]
    assert len(found) == threads + 1  # the main thread works, too; one more watches the server
    assert all(os.sched_getaffinity(thread) == os.sched_getaffinity(0) for thread in found)


_LOAD = """
import sys
from pathlib import Path
from edge_agent.model import load_model, open_package
with open_package(Path(sys.argv[1])) as package:
    model = load_model(package, threads=1)
model.warm_up()
model.close()
"""


def test_nothing_is_reported_to_anybody(tmp_path: Path, runtime: bytes) -> None:
    """No socket of the internet in any of the processes, and no file left at home; the kernel is the witness."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed here")
    path = make_relay_vm_package(tmp_path / "bolts", runtime=runtime)
    home = tmp_path / "home"
    home.mkdir()
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=socket,connect,sendto", "-o", str(trace)]
    subprocess.run(
        [*command, sys.executable, "-c", _LOAD, str(path)], env={**os.environ, "HOME": str(home)}, check=True
    )
    calls = [line for line in trace.read_text().splitlines() if "AF_INET" in line]
    assert calls == []
    assert "exited with 0" in trace.read_text()
    assert list(home.rglob("*")) == []
