"""Compiled models, for real: a library from the system's C compiler, and one that TVM compiled."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List

import numpy as np
import psutil
import pytest
from support.neo import (
    TRIGGER,
    child_processes,
    expected_outputs,
    graph_document,
    make_neo_package,
    params_bytes,
    random_tensor,
    weights,
)
from support.packages import zip_package

from edge_agent.errors import EngineError, ModelError
from edge_agent.model import load_model, open_package
from edge_agent.model.engine_neo import NeoEngine
from edge_agent.model.neo.errors import BeyondLoaderError

Open = Callable[..., NeoEngine]


@pytest.fixture
def open_engine() -> Iterator[Open]:
    engines: List[NeoEngine] = []

    def open_one(path: Path, **options: Any) -> NeoEngine:
        with open_package(path) as package:
            engines.append(NeoEngine(package.stage_directory(), package.manifest, **{"threads": 1, **options}))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_outputs_are_those_of_the_arithmetic(tmp_path: Path, open_engine: Open, threads: int) -> None:
    path = zip_package(make_neo_package(tmp_path / "bolts"), tmp_path / "bolts.zip")
    engine = open_engine(path, threads=threads)  # the unpacked files are gone by now
    assert engine.output_shapes == ((1, 2, 96, 128), (1, 2))
    for seed in range(20):
        tensor = random_tensor(seed)
        for found, expected in zip(engine.run(tensor), expected_outputs(tensor)):
            np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)
    assert engine.failure is None
    workers = psutil.Process(engine.process_id).num_threads()
    assert workers >= threads + 1  # and the one that watches the server


def test_a_model_sees_red(tmp_path: Path) -> None:
    with open_package(make_neo_package(tmp_path / "bolts", top={"runtime": "dlr"})) as package:
        model = load_model(package, threads=2)
    model.warm_up()
    pixels = np.full((240, 320, 3), 128, np.uint8)
    assert not model.detect(pixels).is_anomalous
    pixels[40:80, 40:120] = (230, 10, 10)
    verdict = model.detect(pixels)
    assert verdict.is_anomalous
    assert verdict.anomalies[1].area == pytest.approx(40 * 80 / (240 * 320), rel=0.1)
    model.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_equals_the_compilers_own_runtime(shared_data: Path, open_engine: Open, threads: int) -> None:
    path = shared_data / "neo" / "mochi-x86_64"
    if not path.is_dir() or platform.machine() != "x86_64":
        pytest.skip("the compiled package is not here, or not for this processor")
    expected = np.load(path / "expected.npz")
    mask, classes = open_engine(path, threads=threads).run(expected["input"])
    np.testing.assert_allclose(mask, expected["mask"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(classes, expected["class"], atol=1e-5, rtol=0)


def test_a_crash_is_an_error_that_names_the_signal(tmp_path: Path, open_engine: Open) -> None:
    engine = open_engine(make_neo_package(tmp_path / "bolts", mood="abort"))
    engine.run(random_tensor(0))
    for _ in range(2):
        with pytest.raises(EngineError, match=r"bolts/mochi: its process was ended by SIGABRT \(aborted\)"):
            engine.run(TRIGGER)
    assert engine.failure == "its process was ended by SIGABRT (aborted)"


def test_a_crash_while_loading(tmp_path: Path, open_engine: Open) -> None:
    with pytest.raises(EngineError, match="was ended by SIGABRT"):
        open_engine(make_neo_package(tmp_path / "bolts", mood="abort at once"))
    assert child_processes() == []


def test_a_kill_from_outside_is_noticed_without_a_call(tmp_path: Path, open_engine: Open) -> None:
    engine = open_engine(make_neo_package(tmp_path / "bolts"))
    os.kill(engine.process_id, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while engine.failure is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.failure == "its process was ended by SIGKILL (killed)"
    with pytest.raises(EngineError, match="SIGKILL"):
        engine.run(random_tensor(0))


def test_a_model_that_hangs_is_ended(tmp_path: Path, open_engine: Open) -> None:
    engine = open_engine(make_neo_package(tmp_path / "bolts", mood="hang"), run_timeout=1.0)
    engine.run(random_tensor(0))
    with pytest.raises(EngineError, match="did not answer in time and was ended"):
        engine.run(TRIGGER)
    assert engine.failure is not None
    assert not psutil.pid_exists(engine.process_id)


def test_an_operator_that_fails_ends_the_call_and_not_the_model(tmp_path: Path, open_engine: Open) -> None:
    engine = open_engine(make_neo_package(tmp_path / "bolts", mood="fail"))
    with pytest.raises(EngineError, match=r"mochi/compiled\.so: fused_mask failed \(the conveyor is on strike\)"):
        engine.run(TRIGGER)
    assert engine.failure is None
    engine.run(random_tensor(0))


def test_signals_to_the_whole_group_are_the_servers(tmp_path: Path, open_engine: Open) -> None:
    engine = open_engine(make_neo_package(tmp_path / "bolts"))
    os.kill(engine.process_id, signal.SIGTERM)
    os.kill(engine.process_id, signal.SIGINT)
    engine.run(random_tensor(0))


def edit_graph(path: Path, change: Callable[[Any], None]) -> None:
    document = graph_document((96, 128))
    change(document)
    (path / "mochi" / "compiled_model.json").write_text(json.dumps(document))


def test_a_model_that_calls_packed_functions_is_not_for_our_loader(tmp_path: Path, open_engine: Open) -> None:
    path = make_neo_package(tmp_path / "bolts", mood="ask for a function")
    with pytest.raises(BeyondLoaderError, match="fused_mask calls TVMBackendGetFuncFromEnv"):
        open_engine(path)


def test_what_does_not_fit_is_refused(tmp_path: Path, open_engine: Open) -> None:
    path = make_neo_package(tmp_path / "bolts")
    edit_graph(path, lambda document: document["nodes"][3]["attrs"].update(func_name="fused_nothing"))
    with pytest.raises(EngineError, match="has no function 'fused_nothing', which its graph calls"):
        open_engine(path)
    edit_graph(path, lambda document: document["attrs"]["shape"][1].__setitem__(0, [1, 3, 96, 64]))
    with pytest.raises(EngineError, match=r"expected float32 \[1, 3, 96, 128\]; found float32 \[1, 3, 96, 64\]"):
        open_engine(path)
    edit_graph(path, lambda document: document["heads"].reverse())
    with pytest.raises(EngineError, match="its outputs do not fit its manifest"):
        open_engine(path)
    edit_graph(path, lambda document: document["attrs"]["shape"][1].__setitem__(1, [2]))
    with pytest.raises(EngineError, match=r"weight 'p0' is float32 \[1\], but the graph says float32 \[2\]"):
        open_engine(path)
    edit_graph(path, lambda document: None)
    (path / "mochi" / "compiled.params").write_bytes(params_bytes({"p0": weights("sound")["p0"]}))
    with pytest.raises(EngineError, match=r"found float32 \[1, 3, 96, 128\], int32 \[1\]"):
        open_engine(path)
    assert child_processes() == []


@pytest.mark.parametrize("name", ["compiled.so", "compiled.params"])
def test_torn_files_are_one_error(tmp_path: Path, open_engine: Open, name: str) -> None:
    path = make_neo_package(tmp_path / "bolts")
    file = path / "mochi" / name
    whole = file.read_bytes()
    for part in (0, 10, 100, len(whole) // 2, len(whole) - 1):
        if name == "compiled.so" and part > len(whole) // 2:
            continue  # what a library ends with is not needed to run it
        file.write_bytes(whole[:part])
        with pytest.raises(ModelError):
            open_engine(path)
    assert child_processes() == []


_PARENT = """
import sys, time
import numpy as np
from edge_agent.model import open_package
from edge_agent.model.engine_neo import NeoEngine
with open_package(sys.argv[1]) as package:
    engine = NeoEngine(package.stage_directory(), package.manifest, threads=2)
print(engine.process_id, flush=True)
tensor = np.zeros((1, 3, 96, 128), np.float32)
tensor[0, ::2, 0, 0] = float(sys.argv[2])
engine.run(tensor)
time.sleep(60)
"""


@pytest.mark.parametrize("trigger", ["0", "1"])
def test_the_child_dies_with_its_server_and_leaves_nothing(tmp_path: Path, trigger: str) -> None:
    """Also in the middle of an inference that never ends."""
    path = make_neo_package(tmp_path / "bolts", mood="hang")
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(path), trigger], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        child = psutil.Process(int(server.stdout.readline()))
        assert list(Path("/dev/shm").glob(f"*-{server.pid}-*")) == []
        server.kill()
    gone, _ = psutil.wait_procs([child], timeout=10)
    assert gone == [child]
