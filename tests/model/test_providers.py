"""Which execution provider runs an ONNX model: the choice, the way down, and what is said of it."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, List, Tuple

import numpy as np
import onnx
import pytest
from support.packages import make_package

from edge_agent.errors import EngineError
from edge_agent.model import Model, OnnxOptions, load_model, onnx_session, open_package
from edge_agent.model.engine_onnx import OnnxEngine
from edge_agent.model.providers import PROVIDERS, providers_to_try, settings_of
from edge_agent.model.tensorrt_cache import engine_directory

GPU = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
INTEL = ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
PLAIN = ["AzureExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("wanted", "available", "tries", "absent"),
    [
        ((), PLAIN, ["cpu"], []),
        ((), GPU, ["tensorrt", "cuda", "cpu"], []),
        ((), [*reversed(GPU), *INTEL], ["tensorrt", "cuda", "openvino", "cpu"], []),
        ((), INTEL, ["openvino", "cpu"], []),
        (("cpu", "cuda"), GPU, ["cpu", "cuda"], []),
        (("cuda",), GPU, ["cuda"], []),
        (("cuda", "openvino", "cpu"), INTEL, ["openvino", "cpu"], ["cuda"]),
        (("cuda",), PLAIN, [], ["cuda"]),
        (("no-tensorrt",), GPU, ["cuda", "cpu"], []),
        (("no-tensorrt", "no-cuda"), GPU, ["cpu"], []),
        (("no-openvino",), PLAIN, ["cpu"], []),
    ],
)
def test_what_is_tried(wanted: Tuple[str, ...], available: List[str], tries: List[str], absent: List[str]) -> None:
    assert providers_to_try(OnnxOptions(wanted).providers, available) == (tries, absent)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("gpu",), "'gpu' is no provider: choose from tensorrt, cuda, openvino, cpu"),
        (("no-gpu",), "'gpu' is no provider"),
        (("cpu", "cpu"), "named twice"),
        (("no-cuda", "cpu"), "either name what is tried, or what is left out"),
    ],
)
def test_names_that_say_nothing(names: Tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OnnxOptions(names)


def test_settings_of_providers() -> None:
    assert settings_of("openvino", threads=3, tensorrt_cache=None) == {
        "device_type": "CPU",
        "num_of_threads": "3",
        "precision": "FP32",
    }
    assert settings_of("tensorrt", threads=3, tensorrt_cache=None) == {}
    cached = settings_of("tensorrt", threads=3, tensorrt_cache=Path("/cache/x"))
    assert cached["trt_engine_cache_enable"] == "1"
    assert cached["trt_engine_cache_path"] == "/cache/x"
    assert settings_of("cpu", threads=3, tensorrt_cache=Path("/cache/x")) == {}


def load(path: Path, *providers: str, cache: Any = None) -> Model:
    with open_package(path) as package:
        return load_model(package, threads=1, onnx=OnnxOptions(providers, cache))


def pretend(monkeypatch: pytest.MonkeyPatch, available: List[str]) -> None:
    """Have ONNX Runtime list what it was not built with: such a provider then fails as one without its libraries."""
    monkeypatch.setattr(onnx_session.onnxruntime, "get_available_providers", lambda: available)


def test_the_provider_that_runs_is_visible(tmp_path: Path) -> None:
    model = load(make_package(tmp_path / "bolts"), "cpu")
    assert model.backend == f"ONNX Runtime {onnx_session.onnxruntime.__version__}, cpu"


# ONNX Runtime warns of a provider that it was not built with and leaves it out, as it leaves out one whose libraries are
# missing; where warnings are errors it raises, as it does for TensorRT.
left_out_or_raised = pytest.mark.parametrize("action", ["ignore", "error"])


@left_out_or_raised
def test_providers_that_fail_are_passed_over_in_one_line(tmp_path, monkeypatch, caplog, capfd, action: Any) -> None:
    path = make_package(tmp_path / "bolts")
    pretend(monkeypatch, GPU)
    with caplog.at_level(logging.INFO), warnings.catch_warnings():
        warnings.simplefilter(action)
        model = load(path)
    assert model.backend.endswith(", cpu")
    assert not model.detect(np.full((64, 64, 3), 128, np.uint8)).is_anomalous
    [record] = caplog.records
    line = record.getMessage()
    assert line.startswith("bolts/mochi/model.onnx: runs on cpu, because it does not load on tensorrt (")
    assert "; it does not load on cuda (" in line
    assert capfd.readouterr() == ("", "")  # ONNX Runtime's own lines would say it again


def test_what_is_asked_for_and_absent_is_named_too(tmp_path, monkeypatch, caplog) -> None:
    path = make_package(tmp_path / "bolts")
    pretend(monkeypatch, PLAIN)
    assert load(path, "cuda", "cpu").backend.endswith(", cpu")
    assert [record.getMessage() for record in caplog.records] == [
        "bolts/mochi/model.onnx: runs on cpu, because cuda is not in this ONNX Runtime"
    ]


def test_a_model_that_may_not_run_on_what_is_there(tmp_path, monkeypatch, caplog) -> None:
    path = make_package(tmp_path / "bolts")
    pretend(monkeypatch, PLAIN)
    with pytest.raises(EngineError, match=r"bolts/.*: may run on cuda only, and this ONNX Runtime has cpu\. Install"):
        load(path, "cuda")
    pretend(monkeypatch, GPU)
    with pytest.raises(EngineError, match=r"does not load on cuda \(.*\); it does not load on tensorrt \("):
        load(path, "tensorrt", "cuda")
    assert caplog.records == []


def test_a_provider_on_which_the_first_run_fails_is_passed_over(tmp_path, monkeypatch, caplog) -> None:
    """As one does whose device has too little memory: the session is there, and its first run fails."""
    path = make_package(tmp_path / "bolts")
    pretend(monkeypatch, ["OpenVINOExecutionProvider", "CPUExecutionProvider"])
    real = onnx_session._Session

    class OutOfMemory:
        def __init__(self, model: str, settings: Any, *, providers: List[Any]) -> None:
            self._names = [name for name, _ in providers]
            self._session = real(model, settings, providers=["CPUExecutionProvider"])

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

        def get_providers(self) -> List[str]:
            return self._names

        def run(self, *arguments: Any) -> Any:
            if self._names[0] != "CPUExecutionProvider":
                raise RuntimeError("Failed to allocate memory\nand more")
            return self._session.run(*arguments)

    monkeypatch.setattr(onnx_session, "_Session", OutOfMemory)
    load(path)
    [record] = caplog.records
    assert record.getMessage() == (
        "bolts/mochi/model.onnx: runs on cpu, because it does not run on openvino (Failed to allocate memory)"
    )


def test_buffers_are_bound_once_and_written_in_place(tmp_path: Path) -> None:
    path = make_package(tmp_path / "bolts")
    with open_package(path) as package:
        engine = OnnxEngine(package.artifact(), package.manifest, name="bolts", threads=1)
    session = onnx_session.onnxruntime.InferenceSession(
        str(path / "mochi" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(0)
    tensor = np.zeros((1, 3, 96, 128), dtype=np.float32)
    buffers = [output.ctypes.data for output in engine.run(tensor)]
    for array in (tensor, np.empty_like(tensor), tensor):  # another array is bound in its place, and back
        for _ in range(2):
            array[:] = random.random(array.shape, dtype=np.float32)
            outputs = engine.run(array)
            assert [output.ctypes.data for output in outputs] == buffers
            for output, expected in zip(outputs, session.run(None, {"input": array})):
                np.testing.assert_array_equal(output, expected)
    assert engine.output_shapes == ((1, 3, 96, 128), (1, 2))
    for wrong in (tensor[:, :, :, ::2], tensor.astype(np.float64), tensor[:, :, :50], tensor.transpose(0, 1, 3, 2)):
        with pytest.raises(ValueError, match="is no contiguous float32"):
            engine.run(wrong)
    engine.close()


def test_engines_of_tensorrt_are_kept_by_model_and_runtime(tmp_path: Path) -> None:
    artifact = make_package(tmp_path / "bolts") / "mochi" / "model.onnx"
    root = tmp_path / "cache"
    first = engine_directory(root, [artifact], "bolts", "1.31.1")
    assert first.parent == root
    assert [path.stat().st_mode & 0o777 for path in (root, first)] == [0o700, 0o700]
    assert engine_directory(root, [artifact], "bolts", "1.31.1") == first
    assert engine_directory(root, [artifact], "bolts", "1.32.0") != first
    # ONNX Runtime's own key is the graph, and weights may lie in another file.
    weights = artifact.parent / "model.onnx.data"
    weights.write_bytes(b"weights")
    other = engine_directory(root, [artifact, weights], "bolts", "1.31.1")
    weights.write_bytes(b"WEIGHTS")
    assert len({first, other, engine_directory(root, [artifact, weights], "bolts", "1.31.1")}) == 3
    with pytest.raises(EngineError, match="bolts: cannot be read"):
        engine_directory(root, [artifact.parent / "none"], "bolts", "1.31.1")


def test_the_weights_beside_a_network_are_part_of_it(tmp_path, monkeypatch) -> None:
    path = make_package(tmp_path / "bolts")
    file = path / "mochi" / "model.onnx"
    onnx.save(onnx.load(str(file)), str(file), save_as_external_data=True, location="weights.bin", size_threshold=60)
    pretend(monkeypatch, GPU)
    load(path, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    weights = file.parent / "weights.bin"
    weights.write_bytes(bytes(reversed(weights.read_bytes())))
    load(path, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_engines_of_tensorrt_are_kept_where_nobody_else_writes(tmp_path: Path) -> None:
    artifact = make_package(tmp_path / "bolts") / "mochi" / "model.onnx"
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o770)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for root in (shared, link, artifact):
        with pytest.raises(EngineError, match="cannot be TensorRT's cache"):
            engine_directory(root, [artifact], "bolts", "1")
    with pytest.raises(EngineError, match="No such file"):
        engine_directory(tmp_path / "no" / "such", [artifact], "bolts", "1")
    kept = tmp_path / "kept"
    inner = engine_directory(kept, [artifact], "bolts", "1")
    inner.chmod(0o777)
    with pytest.raises(EngineError, match=inner.name):
        engine_directory(kept, [artifact], "bolts", "1")


def test_a_bad_cache_fails_the_model_and_not_silently(tmp_path, monkeypatch) -> None:
    pretend(monkeypatch, GPU)
    with pytest.raises(EngineError, match="cannot be TensorRT's cache"):
        load(make_package(tmp_path / "bolts"), cache=tmp_path / "no" / "such")


def test_every_provider_is_spelt_as_onnx_runtime_spells_it() -> None:
    known = onnx_session.onnxruntime.get_all_providers()
    assert set(PROVIDERS.values()) <= set(known)
