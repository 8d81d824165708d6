"""Which tensors lie in the memory that the server and the child process share, and where: inputs and outputs."""

from __future__ import annotations

from typing import Dict, Iterable, NamedTuple

from edge_agent.model.neo.graph import Graph

#: Bytes that the start of every tensor is aligned to; compiled code needs 64 or more.
ALIGNMENT = 128


class Layout(NamedTuple):
    """Offsets of the shared storages, and the size of the whole, in bytes."""

    offsets: Dict[int, int]
    size: int


def shared_layout(graph: Graph, inputs: Iterable[int]) -> Layout:
    """Place the storages of the inputs (entries) and of the graph's outputs, the same in both processes."""
    sizes = graph.storage_sizes()
    offsets: Dict[int, int] = {}
    end = 0
    for entry in [*inputs, *graph.heads]:
        storage = graph.entries[entry].storage
        if storage not in offsets:
            offsets[storage] = end
            end += -(-sizes[storage] // ALIGNMENT) * ALIGNMENT
    return Layout(offsets, end)
