"""SageMaker Neo's compiled models as an engine: foreign code in a process of its own, tensors in shared memory.

A crash of that code is an EngineError here and nothing else. The shared memory has no name: it goes with the last of
the two processes, however they end.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np

from edge_agent.errors import EngineError
from edge_agent.frame import CHANNELS
from edge_agent.model.engine import Tensor, check_outputs, describe
from edge_agent.model.manifest import Manifest
from edge_agent.model.neo.artifacts import find_artifacts
from edge_agent.model.neo.graph import Graph, read_graph
from edge_agent.model.neo.layout import Layout, shared_layout
from edge_agent.model.neo.params import ParamsFile
from edge_agent.model.neo.process import ChildProcess

#: Seconds in which a model must have loaded, and in which it must have answered; then its process is ended.
LOAD_TIMEOUT_S = 120.0
RUN_TIMEOUT_S = 60.0

_FLOAT = np.dtype(np.float32)

# <linux/fcntl.h>: the memory keeps its size, since a page that is gone would kill whoever touches it.
_F_ADD_SEALS = 1033
_SEAL_SEAL_SHRINK_GROW = 1 | 2 | 4


class NeoEngine:
    """A compiled model in a child process.

    Args:
        directory: of the stage; it is not needed any more afterwards.
        manifest: of its package.
        threads: for one inference.
        run_timeout: seconds after which an inference counts as hung.

    Raises:
        PackageError: files missing, torn or not one of each kind.
        EngineError: it is no model for this machine's CPU, it crashed while loading, or it does not fit its manifest.
    """

    def __init__(
        self, directory: Path, manifest: Manifest, *, threads: int, run_timeout: float = RUN_TIMEOUT_S
    ) -> None:
        self._subject = f"{directory.parent.name}/{directory.name}"
        self._run_timeout = run_timeout
        artifacts = find_artifacts(directory, self._subject)
        graph = read_graph(artifacts.graph)
        entry = self._find_input(graph, artifacts.params, manifest)
        self._check_heads(graph, manifest)
        layout = shared_layout(graph, [entry])
        memory, descriptor = self._share(layout.size)
        try:
            self._child = ChildProcess(self._subject, artifacts, threads, descriptor)
        finally:
            os.close(descriptor)
        self._input = _view(memory, graph, entry, layout)
        self._outputs = [_view(memory, graph, head, layout) for head in graph.heads]
        try:
            self._child.wait_loaded(LOAD_TIMEOUT_S)
        except BaseException:
            self._child.close()
            raise

    @property
    def output_shapes(self) -> Tuple[Tuple[int, ...], ...]:
        return tuple(output.shape for output in self._outputs)

    @property
    def failure(self) -> Optional[str]:
        return self._child.failure

    @property
    def process_id(self) -> int:
        """Of the child."""
        return self._child.process_id

    def run(self, tensor: Tensor) -> List[Tensor]:
        np.copyto(self._input, tensor)
        self._child.run(self._run_timeout)
        return self._outputs

    def close(self) -> None:
        self._child.close()

    def _find_input(self, graph: Graph, params: Path, manifest: Manifest) -> int:
        """The one argument of the graph that is no weight."""
        with ParamsFile(params) as file:
            weights = set(file.names)
        inputs = [entry for name, entry in graph.arguments.items() if name not in weights]
        wanted = (1, CHANNELS, manifest.stage.image_height, manifest.stage.image_width)
        found = [graph.entries[entry] for entry in inputs]
        if [(entry.shape, entry.dtype) for entry in found] != [(wanted, _FLOAT)]:
            listed = ", ".join(f"{entry.dtype} {describe(entry.shape)}" for entry in found) or "none"
            raise EngineError(
                self._subject,
                f"its input does not fit its manifest: expected {_FLOAT} {describe(wanted)}; found {listed}",
            )
        return inputs[0]

    def _check_heads(self, graph: Graph, manifest: Manifest) -> None:
        heads = [graph.entries[head] for head in graph.heads]
        check_outputs(self._subject, manifest, [head.shape for head in heads])
        for head in heads:
            if head.dtype != _FLOAT:
                raise EngineError(self._subject, f"has an output of {head.dtype}, not {_FLOAT}")

    def _share(self, size: int) -> Tuple[mmap.mmap, int]:
        """Shared memory without a name, taken at once, and its descriptor."""
        try:
            descriptor = os.memfd_create("edge-agent-neo", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                os.posix_fallocate(descriptor, 0, size)
                fcntl.fcntl(descriptor, _F_ADD_SEALS, _SEAL_SEAL_SHRINK_GROW)
                return mmap.mmap(descriptor, size), descriptor
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            raise EngineError(self._subject, f"gets no {size} bytes for its tensors ({error.strerror})") from error


def _view(memory: mmap.mmap, graph: Graph, index: int, layout: Layout) -> Tensor:
    entry = graph.entries[index]
    view: Tensor = np.ndarray(entry.shape, dtype=np.float32, buffer=memory, offset=layout.offsets[entry.storage])
    return view
