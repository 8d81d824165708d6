"""A compiled model in memory: its tensors, its weights, and its operators in order. Only in the child process."""

from __future__ import annotations

import mmap
from typing import Any, Callable, Dict, List

import numpy as np

from edge_agent.errors import EngineError, PackageError
from edge_agent.model.neo.abi import DLTensor, Library, tensor_of
from edge_agent.model.neo.artifacts import Artifacts
from edge_agent.model.neo.graph import Call, Graph, read_graph
from edge_agent.model.neo.layout import shared_layout
from edge_agent.model.neo.params import ParamsFile
from edge_agent.model.neo.pool import aligned_zeros


class Executor:
    """Runs the graph; input and output tensors lie in the shared memory.

    Args:
        artifacts: the files; not needed any more afterwards.
        shared: the memory that the other process made for `shared_layout`.
        threads: for one inference.

    Raises:
        PackageError, EngineError: as `read_graph`, `ParamsFile` and `Library`; or they do not fit one another.
    """

    def __init__(self, artifacts: Artifacts, shared: mmap.mmap, threads: int) -> None:
        graph = read_graph(artifacts.graph)
        with ParamsFile(artifacts.params) as params:
            weights = set(params.names)
            inputs = [entry for name, entry in graph.arguments.items() if name not in weights]
            self._storages = _allocate(graph, inputs, shared, str(artifacts.graph))
            _load_weights(graph, params, self._storages, str(artifacts.params))
        library = Library(artifacts.library, threads)
        self._tensors: List[DLTensor] = []  # the library holds addresses of them
        self._calls = [self._bind(library, graph, call) for call in graph.calls]

    def run(self) -> None:
        """One inference.

        Raises:
            EngineError: an operator failed.
        """
        for call in self._calls:
            call()

    def _bind(self, library: Library, graph: Graph, call: Call) -> Callable[[], None]:
        tensors = []
        for index in call.inputs + call.outputs:
            entry = graph.entries[index]
            array = self._storages[entry.storage][: entry.nbytes].view(entry.dtype)
            tensors.append(tensor_of(array, (array.size,) if call.flatten else entry.shape))
        self._tensors += tensors
        return library.bind(call.function, tensors)


def _allocate(graph: Graph, inputs: List[int], shared: mmap.mmap, subject: str) -> Dict[int, Any]:
    layout = shared_layout(graph, inputs)
    if layout.size != len(shared):
        raise PackageError(subject, "changed while it was being loaded")
    storages: Dict[int, Any] = {}
    for storage, size in graph.storage_sizes().items():
        if storage in layout.offsets:
            storages[storage] = np.frombuffer(shared, dtype=np.uint8, count=size, offset=layout.offsets[storage])
        else:
            storages[storage] = aligned_zeros(size)
    return storages


def _load_weights(graph: Graph, params: ParamsFile, storages: Dict[int, Any], subject: str) -> None:
    for header in params.headers():
        index = graph.arguments.get(header.name)
        if index is None:
            continue  # as the compiler's own runtime does: a weight that was optimised away
        entry = graph.entries[index]
        if (header.shape, header.dtype) != (entry.shape, entry.dtype):
            raise EngineError(
                subject,
                f"weight {header.name!r} is {header.dtype} {list(header.shape)},"
                f" but the graph says {entry.dtype} {list(entry.shape)}",
            )
        params.read_into(storages[entry.storage][: entry.nbytes])
