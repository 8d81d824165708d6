"""A model in Neo's own runtime, its tensors in the shared memory. Only in the child process."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import List, NamedTuple, Tuple

import numpy as np

from edge_agent.errors import EngineError
from edge_agent.model.neo.dlr_api import DlrApi
from edge_agent.model.neo.graph import MAX_TENSOR_BYTES, MAX_TOTAL_BYTES, dtype_of
from edge_agent.model.neo.inputs import check_inputs
from edge_agent.model.neo.memory import aligned, give_size
from edge_agent.model.neo.protocol import RuntimeJob, Tensor, Tensors

_MAX_OUTPUTS = 16


class _Output(NamedTuple):
    dtype: str
    shape: Tuple[int, ...]


class RuntimeExecutor:
    """Runs a model with the runtime of its package; its input and outputs lie in the shared memory.

    Args:
        job: the files are not needed any more afterwards.
        memory: descriptor of the shared memory, which gets its size here.

    Raises:
        EngineError: the runtime does not load, or what it says of the model; or the input is another.
    """

    def __init__(self, job: RuntimeJob, memory: int) -> None:
        self._subject = job.subject
        self._api = api = DlrApi(Path(job.runtime), job.subject)
        api.create(Path(job.directory), job.device)
        check_inputs(job.subject, job.input_shape, self._inputs())
        name = api.text("GetDLRInputName", 0).encode("utf-8", "surrogateescape")
        sides = (ctypes.c_int64 * len(job.input_shape))(*job.input_shape)
        # What the virtual machine gives is known when it has run; so this run is on memory of its own.
        zeros = np.zeros(job.input_shape, np.float32)
        api.call("SetDLRInput", name, sides, zeros.ctypes.data, len(sides))
        api.call("RunDLRModel")
        self._found = self._outputs()
        self.tensors = _lay_out(job.input_shape, self._found, job.subject)
        self._memory = np.frombuffer(give_size(memory, self.tensors.size, job.subject), np.uint8)
        start = self._memory.ctypes.data
        self._input = (name, sides, start + self.tensors.input.offset, len(sides))
        self._targets = [start + output.offset for output in self.tensors.outputs]

    def run(self) -> None:
        """One inference.

        Raises:
            EngineError: it failed, or the outputs have changed their shapes.
        """
        self._api.call("SetDLRInput", *self._input)
        self._api.call("RunDLRModel")
        if self._outputs() != self._found:
            raise EngineError(self._subject, "changed the shape of its outputs from one image to the next")
        for index, target in enumerate(self._targets):
            self._api.call("GetDLROutput", index, target)

    def _inputs(self) -> List[Tuple[str, Tuple[int, ...]]]:
        api = self._api
        count = api.number("GetDLRNumInputs")
        return [
            (api.text("GetDLRInputType", index), api.shape("GetDLRInput", index))
            for index in range(min(count, _MAX_OUTPUTS))
        ]

    def _outputs(self) -> List[_Output]:
        api = self._api
        count = api.number("GetDLRNumOutputs")
        if not 1 <= count <= _MAX_OUTPUTS:
            raise EngineError(self._subject, f"has {count} outputs; 1 to {_MAX_OUTPUTS} are allowed")
        return [
            _Output(api.text("GetDLROutputType", index), api.shape("GetDLROutput", index)) for index in range(count)
        ]


def _lay_out(input_shape: Tuple[int, ...], outputs: List[_Output], subject: str) -> Tensors:
    """One after the other."""
    given = Tensor(input_shape, "float32", 0)
    end = aligned(math.prod(input_shape) * np.dtype(np.float32).itemsize)
    placed = []
    for dtype, shape in outputs:
        kind = dtype_of(dtype)
        if kind is None:
            raise EngineError(subject, f"has an output of type {dtype!r}, which is not supported")
        nbytes = math.prod(shape) * kind.itemsize
        if any(side < 1 for side in shape) or nbytes > MAX_TENSOR_BYTES:
            raise EngineError(subject, f"has an output of shape {list(shape)}, which cannot be allocated")
        placed.append(Tensor(shape, kind.name, end))
        end += aligned(nbytes)
    if end > MAX_TOTAL_BYTES:
        raise EngineError(subject, f"needs {end} bytes of tensors; at most {MAX_TOTAL_BYTES} are allowed")
    return Tensors(given, tuple(placed), end)
