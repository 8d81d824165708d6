"""The files of a compiled model, as if a stranger had made them."""

from __future__ import annotations

import json
import platform
import struct
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
from support.neo import graph_document, make_neo_package, params_bytes, weights

from edge_agent.errors import EngineError, ModelError, PackageError
from edge_agent.model import open_package
from edge_agent.model.neo.artifacts import find_artifacts
from edge_agent.model.neo.errors import BeyondLoaderError
from edge_agent.model.neo.graph import read_graph
from edge_agent.model.neo.layout import shared_layout
from edge_agent.model.neo.params import ParamsFile


def read_params(path: Path) -> Dict[str, np.ndarray]:
    arrays = {}
    with ParamsFile(path) as params:
        for header in params.headers():
            data = np.empty(header.nbytes, np.uint8)
            params.read_into(data)
            arrays[header.name] = data.view(header.dtype).reshape(header.shape)
    return arrays


def test_weights_come_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {
        "p0": random.random((2, 3, 4), dtype=np.float32),
        "scalar": np.array(7, np.int64),
        "half": random.random(5).astype(np.float16),
        "none": np.zeros((0, 3), np.uint8),
    }
    path = tmp_path / "compiled.params"
    path.write_bytes(params_bytes(arrays))
    found = read_params(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
    with ParamsFile(path) as params:  # passing one over does not lose the next
        assert [header.name for header in params.headers()] == list(arrays)


def test_a_weights_file_torn_anywhere_is_one_error(tmp_path: Path) -> None:
    whole = params_bytes(weights("sound"))
    path = tmp_path / "compiled.params"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(PackageError, match=r"compiled\.params: "):
            read_params(path)


def put(form: str, offset: int, value: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        struct.pack_into(form, data, offset, value)

    return change


# The file of `weights`: names end at 44, the first array begins at 52.
LIES = [
    (put("<Q", 0, 1), "is not a weights file"),
    (put("<Q", 16, 2**63), "claims 9223372036854775808 weights"),
    (put("<Q", 16, 20), "claims 20 weights"),
    (put("<Q", 24, 2**40), "a name of 1099511627776 bytes"),
    (put("<B", 32, 0xFF), "a name that is no text"),
    (put("<B", 43, ord("0")), "names a weight twice"),
    (put("<Q", 44, 3), "names 2 weights and holds 3"),
    (put("<Q", 52, 3), "torn before weight 'p0'"),
    (put("<i", 76, -1), "-1 dimensions"),
    (put("<i", 76, 2**30), "1073741824 dimensions"),
    (put("<B", 80, 9), "code 9, 32 bits"),
    (put("<B", 81, 7), "code 2, 7 bits"),
    (put("<B", 81, 8), "code 2, 8 bits"),
    (put("<H", 82, 4), "4 lanes"),
    (put("<q", 84, 2**62), "which its size rules out"),
    (put("<q", 84, -1), "which its size rules out"),
    (put("<q", 92, 8), "8 bytes for a shape of 4"),
]


@pytest.mark.parametrize(("lie", "message"), LIES)
def test_a_weights_file_that_lies_is_refused(tmp_path: Path, lie: Callable[[bytearray], None], message: str) -> None:
    data = bytearray(params_bytes(weights("sound")))
    lie(data)
    path = tmp_path / "compiled.params"
    path.write_bytes(data)
    with pytest.raises(PackageError, match=message):
        read_params(path)


def write_graph(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "compiled_model.json"
    path.write_text(json.dumps(document))
    return path


def test_a_graph_and_its_shared_memory(tmp_path: Path) -> None:
    graph = read_graph(write_graph(tmp_path, graph_document((96, 128))))
    assert graph.arguments == {"input": 0, "p0": 1, "p1": 2}
    assert [(call.function, call.inputs, call.outputs, call.flatten) for call in graph.calls] == [
        ("fused_mask", (0, 1, 2), (3,), False),
        ("fused_class", (4,), (5,), True),
    ]
    assert graph.heads == (3, 5)
    assert graph.entries[4].shape == (1, 2, 96 * 128)
    layout = shared_layout(graph, [0])
    plane = 96 * 128 * 4
    assert layout.offsets == {0: 0, 3: 3 * plane, 4: 5 * plane}
    assert layout.size == 5 * plane + 128


def changed(*path: Any, to: Any) -> Callable[[Dict[str, Any]], None]:
    def change(document: Dict[str, Any]) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return change


GRAPHS = [
    (changed("nodes", to=[]), PackageError, "node_row_ptr does not count up"),
    (changed("nodes", to={}), PackageError, "is not the graph of a compiled model"),
    (changed("node_row_ptr", 3, to=2), PackageError, "node_row_ptr does not count up"),
    (changed("node_row_ptr", 6, to=10**9), PackageError, "has 1000000000 tensors"),
    (changed("nodes", 1, "name", to="input"), PackageError, "names the input 'input' twice"),
    (changed("nodes", 3, "op", to="cuda_op"), PackageError, "is a 'cuda_op', which is unknown"),
    (changed("nodes", 3, "inputs", 0, to=[3, 0, 0]), PackageError, "to no earlier node"),
    (changed("nodes", 3, "inputs", 0, to=[-1, 0, 0]), PackageError, "to no earlier node"),
    (changed("nodes", 3, "inputs", 0, to=[0, 1, 0]), PackageError, "output 1 of node 0"),
    (changed("nodes", 3, "inputs", 0, to=[]), PackageError, "to no earlier node"),
    (changed("nodes", 3, "attrs", "num_inputs", to="2"), PackageError, "declares 2 inputs and 1 outputs but has 3"),
    (changed("nodes", 3, "attrs", "num_inputs", to="-1"), PackageError, "num_inputs that is no number"),
    (changed("nodes", 3, "attrs", "func_name", to=None), PackageError, "names no function"),
    (changed("nodes", 3, "attrs", "func_name", to="tensorrt_0"), BeyondLoaderError, "TensorRT on a GPU"),
    (changed("heads", to=[]), PackageError, "has no outputs"),
    (changed("heads", 0, to=[6, 0, 0]), PackageError, "to no earlier node"),
    (changed("attrs", "shape", 1, 0, to=[2**40, 2**40]), PackageError, "cannot be allocated"),
    (changed("attrs", "shape", 1, 0, to=[1, -1]), PackageError, r"shape \[1, -1\], which cannot be allocated"),
    (changed("attrs", "shape", 1, 0, to=[1] * 99), PackageError, "99 dimensions"),
    (changed("attrs", "shape", 1, to=[[1]]), PackageError, "has 1 values for 6 tensors"),
    (changed("attrs", "shape", to="x"), PackageError, "attrs.shape is not a list"),
    (changed("attrs", "dltype", 1, 0, to="float32x4"), BeyondLoaderError, "type 'float32x4'"),
    (changed("attrs", "storage_id", 1, 0, to=-1), PackageError, "storage -1"),
    (changed("attrs", "storage_id", 1, 4, to=7), PackageError, "reshapes a tensor into other memory"),
    (changed("attrs", "shape", 1, 4, to=[7]), PackageError, "reshapes 98304 bytes into 28"),
    (changed("attrs", "device_index", 1, 3, to=2), BeyondLoaderError, "device type 2, which is not the CPU"),
]


@pytest.mark.parametrize(("change", "kind", "message"), GRAPHS)
def test_a_graph_that_makes_no_sense_is_refused(tmp_path: Path, change: Any, kind: Any, message: str) -> None:
    document = graph_document((96, 128))
    change(document)
    with pytest.raises(kind, match=message):
        read_graph(write_graph(tmp_path, document))


@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"\xff", b'{"nodes": 1}'])
def test_a_graph_that_is_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "compiled_model.json"
    path.write_bytes(data)
    with pytest.raises(PackageError, match="is not the graph of a compiled model"):
        read_graph(path)


def stage(tmp_path: Path, files: Dict[str, bytes], machine: int = 0) -> Path:
    machine = machine or {"x86_64": 62, "aarch64": 183}[platform.machine()]
    header = b"\x7fELF" + bytes(14) + struct.pack("<H", machine)
    whole = {"compiled.so": header, "compiled_model.json": b"{}", "compiled.params": b"", **files}
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_the_files_are_found_by_extension(tmp_path: Path) -> None:
    meta = b'{"Requirements": {"TargetDeviceType": "cpu"}}'
    found = find_artifacts(
        stage(tmp_path, {"libdlr.so": b"x", "dlr.h": b"", "a.meta": meta, "model-shapes.json": b""}), "bolts/mochi"
    )
    assert [path.name for path in found] == ["compiled.so", "compiled_model.json", "compiled.params"]


FILES: List[Any] = [
    ({"second.so": b""}, 0, PackageError, r"holds 2 \*\.so files \(compiled\.so, second\.so\), not one"),
    ({"second.params": b""}, 0, PackageError, r"holds 2 \*\.params files"),
    ({"code.ro": b""}, 0, BeyondLoaderError, "code.ro is for Neo's virtual machine"),
    ({"model.tensorrt": b""}, 0, BeyondLoaderError, "model.tensorrt is for TensorRT"),
    ({"a.meta": b'{"Requirements": {"TargetDeviceType": "gpu"}}'}, 0, BeyondLoaderError, "is compiled for 'gpu'"),
    ({"a.meta": b"{"}, 0, PackageError, "a.meta that is not valid JSON"),
    ({"compiled.so": b"text"}, 0, PackageError, "compiled.so is no shared library"),
    ({}, 40, EngineError, "is compiled for arm, but this machine is"),
    ({}, 8, EngineError, "is compiled for ELF machine 8, but"),
]


@pytest.mark.parametrize(("files", "machine", "kind", "message"), FILES)
def test_what_this_machine_cannot_run_is_named(
    tmp_path: Path, files: Any, machine: int, kind: Any, message: str
) -> None:
    with pytest.raises(kind, match=message):
        find_artifacts(stage(tmp_path, files, machine), "bolts/mochi")


@pytest.mark.parametrize("name", ["compiled.so", "compiled_model.json", "compiled.params"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (stage(tmp_path, {}) / name).unlink()
    with pytest.raises(ModelError, match=r"bolts/mochi: holds 0 \*"):
        find_artifacts(tmp_path, "bolts/mochi")


def test_a_file_that_is_a_link_out_of_the_package_is_refused(tmp_path: Path) -> None:
    path = make_neo_package(tmp_path / "bolts")
    (path / "mochi" / "compiled.params").rename(tmp_path / "outside")
    (path / "mochi" / "compiled.params").symlink_to(tmp_path / "outside")
    with open_package(path) as package, pytest.raises(PackageError, match="lies outside the package"):
        package.stage_directory()
