"""The graph of a compiled model (`compiled_model.json`): which function reads and writes which tensors, in order.

A tensor is an entry; entries with one storage share memory, which is right because they are never needed at once.
Everything that the runtime will use as an index or a size is checked here.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Tuple, Type, TypeVar

import msgspec
import numpy as np

from edge_agent.errors import PackageError
from edge_agent.model.neo.errors import BeyondLoaderError

_MAX_GRAPH_BYTES = 64 * 1024 * 1024
MAX_ENTRIES = 100_000
MAX_DIMENSIONS = 16
MAX_TENSOR_BYTES = 2 * 1024**3
MAX_TOTAL_BYTES = 8 * 1024**3

_CPU = 1  # DLPack's device type
_RESHAPE = "__nop"
_DTYPE = re.compile(r"u?int(8|16|32|64)|float(16|32|64)")

Found = TypeVar("Found")


class Entry(NamedTuple):
    shape: Tuple[int, ...]
    dtype: "np.dtype[np.generic]"
    storage: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Call(NamedTuple):
    """One operator: a function of the library, and the entries it reads and writes."""

    function: str
    inputs: Tuple[int, ...]
    outputs: Tuple[int, ...]
    flatten: bool


class Graph(NamedTuple):
    """A checked graph. `arguments` are inputs and weights by name, `heads` the outputs in order, all as entries."""

    entries: Tuple[Entry, ...]
    arguments: Dict[str, int]
    calls: Tuple[Call, ...]
    heads: Tuple[int, ...]

    def storage_sizes(self) -> Dict[int, int]:
        """Bytes that each storage needs."""
        sizes: Dict[int, int] = {}
        for entry in self.entries:
            sizes[entry.storage] = max(sizes.get(entry.storage, 0), entry.nbytes)
        return sizes


class _Node(msgspec.Struct):
    op: str
    name: str
    inputs: List[List[int]] = []
    attrs: Dict[str, Any] = {}


class _Document(msgspec.Struct):
    nodes: List[_Node]
    heads: List[List[int]]
    node_row_ptr: List[int]
    attrs: Dict[str, Any]


def dtype_of(name: str) -> Optional["np.dtype[np.generic]"]:
    """NumPy's type of a graph's type name, or None where there is none."""
    if name in ("bool", "uint1"):
        return np.dtype(np.bool_)  # one byte for each
    if _DTYPE.fullmatch(name):
        return np.dtype(name)
    return None


def read_graph(path: Path) -> Graph:
    """Read and check a graph.

    Raises:
        PackageError: missing, torn, or not a graph that makes sense.
        BeyondLoaderError: a graph that needs more than a CPU and its own operators.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_GRAPH_BYTES + 1)
    except OSError as error:
        raise PackageError(str(path), f"cannot be read ({error.strerror})") from error
    if len(data) > _MAX_GRAPH_BYTES:
        raise PackageError(str(path), f"has more than {_MAX_GRAPH_BYTES} bytes")
    try:
        document = msgspec.json.decode(data, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PackageError(str(path), f"is not the graph of a compiled model ({error})") from error
    return _Reader(document, str(path)).read()


class _Reader:
    def __init__(self, document: _Document, subject: str) -> None:
        self._document = document
        self._subject = subject
        self._entries: Tuple[Entry, ...] = ()

    def read(self) -> Graph:
        document = self._document
        rows, nodes = document.node_row_ptr, document.nodes
        if not nodes or len(rows) != len(nodes) + 1 or rows[0] != 0 or any(b <= a for a, b in zip(rows, rows[1:])):
            self._fail("node_row_ptr does not count up over the nodes")
        if rows[-1] > MAX_ENTRIES:
            self._fail(f"has {rows[-1]} tensors; at most {MAX_ENTRIES} are allowed")
        self._entries = self._read_entries(rows[-1])
        arguments: Dict[str, int] = {}
        calls = []
        for index, node in enumerate(nodes):
            if node.op == "null":
                if node.name in arguments:
                    self._fail(f"names the input {node.name!r} twice")
                if rows[index + 1] - rows[index] != 1:
                    self._fail(f"input {node.name!r} is not one tensor")
                arguments[node.name] = rows[index]
            elif node.op == "tvm_op":
                call = self._read_call(index, node)
                if call is not None:
                    calls.append(call)
            else:
                self._fail(f"node {node.name!r} is a {node.op!r}, which is unknown")
        heads = tuple(self._entry(head, len(nodes)) for head in document.heads)
        if not heads:
            self._fail("has no outputs")
        return Graph(self._entries, arguments, tuple(calls), heads)

    def _read_entries(self, count: int) -> Tuple[Entry, ...]:
        shapes = self._attribute("shape", List[List[int]], count)
        names = self._attribute("dltype", List[str], count)
        storages = self._attribute("storage_id", List[int], count)
        if "device_index" in self._document.attrs:
            devices = set(self._attribute("device_index", List[int], count)) - {_CPU}
            if devices:
                raise BeyondLoaderError(
                    self._subject, f"places tensors on device type {min(devices)}, which is not the CPU"
                )
        entries = tuple(self._read_entry(*parts) for parts in zip(shapes, names, storages))
        total = sum(Graph(entries, {}, (), ()).storage_sizes().values())
        if total > MAX_TOTAL_BYTES:
            self._fail(f"needs {total} bytes of tensors; at most {MAX_TOTAL_BYTES} are allowed")
        return entries

    def _read_entry(self, shape: Sequence[int], name: str, storage: int) -> Entry:
        dtype = dtype_of(name)
        if dtype is None:
            raise BeyondLoaderError(self._subject, f"has a tensor of type {name!r}")
        if len(shape) > MAX_DIMENSIONS or storage < 0:
            self._fail(f"has a tensor of {len(shape)} dimensions in storage {storage}")
        entry = Entry(tuple(shape), dtype, storage)
        # Dynamic shapes come as -1; they belong to Neo's virtual machine.
        if any(side < 1 for side in shape) or entry.nbytes > MAX_TENSOR_BYTES:
            self._fail(f"has a tensor of shape {list(shape)[:MAX_DIMENSIONS]}, which cannot be allocated")
        return entry

    def _read_call(self, index: int, node: _Node) -> Optional[Call]:
        rows = self._document.node_row_ptr
        function = node.attrs.get("func_name")
        if not isinstance(function, str) or not function:
            self._fail(f"node {node.name!r} names no function")
        inputs = tuple(self._entry(reference, index) for reference in node.inputs)
        outputs = tuple(range(rows[index], rows[index + 1]))
        declared = (self._number(node, "num_inputs"), self._number(node, "num_outputs"))
        if declared != (len(inputs), len(outputs)):
            self._fail(
                f"node {node.name!r} declares {declared[0]} inputs and {declared[1]} outputs"
                f" but has {len(inputs)} and {len(outputs)}"
            )
        if function == _RESHAPE:
            self._check_reshape(node, inputs, outputs)
            return None
        if "tensorrt" in function:
            raise BeyondLoaderError(self._subject, f"calls {function!r}, which is TensorRT on a GPU")
        return Call(function, inputs, outputs, flatten=self._number(node, "flatten_data") == 1)

    def _check_reshape(self, node: _Node, inputs: Tuple[int, ...], outputs: Tuple[int, ...]) -> None:
        """A reshape copies nothing, so its two sides must be the same memory."""
        sides = [self._entries[index] for index in inputs + outputs]
        if len(inputs) != 1 or len(outputs) != 1 or sides[0].storage != sides[1].storage:
            self._fail(f"node {node.name!r} reshapes a tensor into other memory")
        if sides[0].nbytes != sides[1].nbytes:
            self._fail(f"node {node.name!r} reshapes {sides[0].nbytes} bytes into {sides[1].nbytes}")

    def _entry(self, reference: Sequence[int], before: int) -> int:
        """Entry number of a [node, output, version] triple that may refer to nodes below `before` alone."""
        rows = self._document.node_row_ptr
        if len(reference) not in (2, 3) or not 0 <= reference[0] < before:
            self._fail(f"has a reference {list(reference)[:3]} to no earlier node")
        node, output = reference[0], reference[1]
        if not 0 <= output < rows[node + 1] - rows[node]:
            self._fail(f"has a reference to output {output} of node {node}, which is not there")
        return rows[node] + output

    def _number(self, node: _Node, key: str) -> int:
        value = node.attrs.get(key, "0")
        if not isinstance(value, (str, int)) or not str(value).isdigit() or len(str(value)) > 9:
            self._fail(f"node {node.name!r} has a {key} that is no number")
        return int(value)

    def _attribute(self, key: str, kind: Type[Found], count: int) -> Found:
        """The list of a graph attribute, which is written as [type name, list]."""
        try:
            found: Any = msgspec.convert(self._document.attrs.get(key), Tuple[str, kind])[1]
        except msgspec.ValidationError as error:
            self._fail(f"attrs.{key} is not a list for its tensors ({error})")
        if len(found) != count:
            self._fail(f"attrs.{key} has {len(found)} values for {count} tensors")
        kept: Found = found
        return kept

    def _fail(self, reason: str) -> NoReturn:
        raise PackageError(self._subject, reason)
