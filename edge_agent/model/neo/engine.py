"""The server's side of a compiled model: a child process runs it, its tensors lie in shared memory.

A crash of foreign code is an EngineError here and nothing else.
"""

from __future__ import annotations

import logging
import math
import mmap
import os
from typing import List, Mapping, Optional, Tuple

import numpy as np

from edge_agent.errors import EngineError
from edge_agent.frame import CHANNELS
from edge_agent.model.engine import Tensor as Array
from edge_agent.model.engine import check_outputs
from edge_agent.model.manifest import Manifest
from edge_agent.model.neo.memory import ALIGNMENT, attach, create_memory
from edge_agent.model.neo.process import ChildProcess
from edge_agent.model.neo.protocol import Job, Tensor, Tensors

#: Seconds in which a model must have answered; then its process is ended.
RUN_TIMEOUT_S = 60.0

_FLOAT = np.dtype(np.float32)
_log = logging.getLogger(__name__)


class ChildEngine:
    """A compiled model in a child process.

    Args:
        job: for the child; the files are not needed any more afterwards.
        manifest: of its package.
        backend: what runs it, for people to read.
        environment: what is added to the child's.
        load_timeout, run_timeout: seconds after which loading, or one inference, counts as hung.

    Raises:
        PackageError, EngineError: what the child says, it crashed while loading, or it does not fit its manifest.
    """

    def __init__(
        self,
        job: Job,
        manifest: Manifest,
        *,
        backend: str,
        environment: Mapping[str, str],
        load_timeout: float,
        run_timeout: float = RUN_TIMEOUT_S,
    ) -> None:
        self._backend = backend
        self._run_timeout = run_timeout
        descriptor = create_memory(job.subject)
        try:
            self._child = ChildProcess(job, environment, descriptor)
            try:
                loaded = self._child.wait_loaded(load_timeout)
                _check(job.subject, manifest, loaded.tensors)
                memory = attach(descriptor, loaded.tensors.size, job.subject)
            except BaseException:
                self._child.close()
                raise
        finally:
            os.close(descriptor)
        self._input = _view(memory, loaded.tensors.input)
        self._outputs = [_view(memory, output) for output in loaded.tensors.outputs]
        if loaded.unshielded:
            _log.warning("%s: its process is not kept from the network: %s", job.subject, loaded.unshielded)

    @property
    def output_shapes(self) -> Tuple[Tuple[int, ...], ...]:
        return tuple(output.shape for output in self._outputs)

    @property
    def backend(self) -> str:
        return self._backend

    @property
    def failure(self) -> Optional[str]:
        return self._child.failure

    @property
    def process_id(self) -> int:
        """Of the child."""
        return self._child.process_id

    def run(self, tensor: Array) -> List[Array]:
        np.copyto(self._input, tensor)
        self._child.run(self._run_timeout)
        return self._outputs

    def close(self) -> None:
        self._child.close()


def input_shape(manifest: Manifest) -> Tuple[int, ...]:
    return (1, CHANNELS, manifest.stage.image_height, manifest.stage.image_width)


def _check(subject: str, manifest: Manifest, tensors: Tensors) -> None:
    """Raise EngineError unless the outputs fit the manifest, and everything the memory; the child may say anything."""
    check_outputs(subject, manifest, [output.shape for output in tensors.outputs])
    for output in tensors.outputs:
        if output.dtype != _FLOAT.name:
            raise EngineError(subject, f"has an output of {output.dtype}, not {_FLOAT}")
    for tensor in (tensors.input, *tensors.outputs):
        end = tensor.offset + math.prod(tensor.shape) * _FLOAT.itemsize
        if min(tensor.shape) < 1 or tensor.offset < 0 or tensor.offset % ALIGNMENT or end > tensors.size:
            raise EngineError(subject, "its process answered nonsense")
    if tensors.input.shape != input_shape(manifest) or tensors.input.dtype != _FLOAT.name:
        raise EngineError(subject, "its process answered nonsense")


def _view(memory: mmap.mmap, tensor: Tensor) -> Array:
    view: Array = np.ndarray(tensor.shape, dtype=_FLOAT, buffer=memory, offset=tensor.offset)
    return view
