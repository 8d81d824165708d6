"""Which tensors of a graph lie in the shared memory, and where: inputs and outputs."""

from __future__ import annotations

from typing import Dict, Iterable, NamedTuple

from edge_agent.model.neo.graph import Graph
from edge_agent.model.neo.memory import aligned


class Layout(NamedTuple):
    """Offsets of the shared storages, and the size of the whole, in bytes."""

    offsets: Dict[int, int]
    size: int


def shared_layout(graph: Graph, inputs: Iterable[int]) -> Layout:
    """Place the storages of the inputs (entries) and of the graph's outputs."""
    sizes = graph.storage_sizes()
    offsets: Dict[int, int] = {}
    end = 0
    for entry in [*inputs, *graph.heads]:
        storage = graph.entries[entry].storage
        if storage not in offsets:
            offsets[storage] = end
            end += aligned(sizes[storage])
    return Layout(offsets, end)
