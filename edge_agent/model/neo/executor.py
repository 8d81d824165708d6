"""A graph in memory: its tensors, its weights, and its operators in order. Only in the child process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np

from edge_agent.errors import EngineError
from edge_agent.model.neo.abi import DLTensor, Library, tensor_of
from edge_agent.model.neo.graph import Call, Graph, read_graph
from edge_agent.model.neo.inputs import check_inputs
from edge_agent.model.neo.layout import Layout, shared_layout
from edge_agent.model.neo.memory import give_size
from edge_agent.model.neo.params import ParamsFile
from edge_agent.model.neo.pool import aligned_zeros
from edge_agent.model.neo.protocol import GraphJob, Tensor, Tensors


class GraphExecutor:
    """Runs a graph with our own loader; its input and outputs lie in the shared memory.

    Args:
        job: the files are not needed any more afterwards.
        memory: descriptor of the shared memory, which gets its size here.

    Raises:
        PackageError, EngineError: as `read_graph`, `ParamsFile` and `Library`; or they do not fit one another, the input
            is another, or the first run, on zeros, failed.
    """

    def __init__(self, job: GraphJob, memory: int) -> None:
        graph = read_graph(Path(job.graph))
        with ParamsFile(Path(job.params)) as params:
            weights = set(params.names)
            inputs = [entry for name, entry in graph.arguments.items() if name not in weights]
            found = [(graph.entries[entry].dtype.name, graph.entries[entry].shape) for entry in inputs]
            check_inputs(job.subject, job.input_shape, found)
            layout = shared_layout(graph, inputs)
            self._storages = _allocate(graph, layout, memory, job.subject)
            _load_weights(graph, params, self._storages, job.params)
        library = Library(Path(job.library), job.threads)
        self._tensors: List[DLTensor] = []  # the library holds addresses of them
        self._calls = [self._bind(library, graph, call) for call in graph.calls]
        self.tensors = Tensors(
            _place(graph, layout, inputs[0]),
            tuple(_place(graph, layout, head) for head in graph.heads),
            layout.size,
        )
        self.run()

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


def _allocate(graph: Graph, layout: Layout, memory: int, subject: str) -> Dict[int, Any]:
    shared = give_size(memory, layout.size, subject)
    storages: Dict[int, Any] = {}
    for storage, size in graph.storage_sizes().items():
        if storage in layout.offsets:
            storages[storage] = np.frombuffer(shared, dtype=np.uint8, count=size, offset=layout.offsets[storage])
        else:
            storages[storage] = aligned_zeros(size)
    return storages


def _place(graph: Graph, layout: Layout, index: int) -> Tensor:
    entry = graph.entries[index]
    return Tensor(entry.shape, entry.dtype.name, layout.offsets[entry.storage])


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
