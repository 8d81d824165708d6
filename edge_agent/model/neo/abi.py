"""The calling convention of compiled operators (TVM's C ABI), by ctypes.

An operator is `int f(TVMValue *args, int *type_codes, int count, TVMValue *ret, int *ret_code, void *resource)`; 0 is
success and every argument a pointer to a DLTensor. The library holds pointer variables for the functions that it wants
from its runtime; they are filled here.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from edge_agent.errors import EngineError
from edge_agent.model.neo.errors import BeyondLoaderError
from edge_agent.model.neo.pool import Race, ThreadPool, Workspaces

_CPU = 1  # device type
_TENSOR = 7  # type code of a DLTensor handle
_FAILED = -1
_KINDS = {"i": 0, "u": 1, "f": 2, "b": 1}

# What operators call that are not compiled code themselves; there is no such function here, and no barrier.
_UNSUPPORTED = (
    "__TVMFuncCall",
    "__TVMBackendGetFuncFromEnv",
    "__TVMBackendParallelBarrier",
    "__TVMBackendRunOnce",
)


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Environment(ctypes.Structure):
    """What a task of a parallel loop learns of the loop."""

    _fields_ = (("sync", ctypes.c_void_p), ("num_task", ctypes.c_int32))


_Task = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Environment), ctypes.c_void_p)
_SetLastError = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_AllocWorkspace = ctypes.CFUNCTYPE(
    ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int
)
_FreeWorkspace = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
_ParallelLaunch = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
_Unsupported = ctypes.CFUNCTYPE(ctypes.c_int)  # its arguments are never looked at


def tensor_of(array: np.ndarray[Any, np.dtype[Any]], shape: Sequence[int]) -> DLTensor:
    """A description of dense memory, which must outlive it."""
    sides = (ctypes.c_int64 * max(1, len(shape)))(*shape)
    bits = 1 if array.dtype.kind == "b" else 8 * array.dtype.itemsize
    return DLTensor(
        data=array.ctypes.data,
        device=_Device(_CPU, 0),
        ndim=len(shape),
        dtype=_DataType(_KINDS[array.dtype.kind], bits, 1),
        shape=ctypes.cast(sides, ctypes.POINTER(ctypes.c_int64)),  # the cast keeps `sides` alive
    )


class _Loop:
    """A parallel loop of an operator: shared out to threads, if that has shown to be quicker than one thread."""

    def __init__(self, task: Callable[..., int], pool: ThreadPool) -> None:
        self._task = task
        self._pool = pool
        self._race = Race()

    def run(self, data: int, count: int) -> int:
        if min(count, self._pool.threads) == 1:
            return self._run_alone(data)
        shared = self._race.shared()
        began = time.perf_counter_ns()
        status = self._run_shared(data, count) if shared else self._run_alone(data)
        self._race.took(time.perf_counter_ns() - began, shared=shared)
        return status

    def _run_alone(self, data: int) -> int:
        """All of it as one task."""
        return self._task(0, ctypes.byref(_Environment(None, 1)), data)

    def _run_shared(self, data: int, count: int) -> int:
        environment = _Environment(None, count)
        return self._pool.run(lambda number: self._task(number, ctypes.byref(environment), data), count)


class Library:
    """A loaded `compiled.so`, its wishes fulfilled.

    Raises:
        EngineError: the dynamic loader refuses it.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._subject = f"{path.parent.name}/{path.name}"
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise EngineError(self._subject, f"does not load ({error})") from error
        self._pool = ThreadPool(threads)
        self._workspaces = Workspaces()
        self._loops: Dict[int, _Loop] = {}  # by the address of their code
        self._last_error = ""
        self._wanted = ""  # a function of TVM's runtime that was called for and is not here
        self._callbacks: List[Any] = []
        self._fill("__TVMAPISetLastError", _SetLastError(self._set_last_error))
        self._fill("__TVMBackendAllocWorkspace", _AllocWorkspace(self._alloc_workspace))
        self._fill("__TVMBackendFreeWorkspace", _FreeWorkspace(self._free_workspace))
        self._fill("__TVMBackendParallelLaunch", _ParallelLaunch(self._parallel_launch))
        for name in _UNSUPPORTED:
            self._fill(name, _Unsupported(self._refusal(name)))

    def bind(self, name: str, tensors: Sequence[DLTensor]) -> Callable[[], None]:
        """A call of an operator on these tensors, inputs first.

        Raises:
            BeyondLoaderError: there is no such function; from the call: it wants a function from outside.
            EngineError: from the call: it failed.
        """
        try:
            function = self._library[name]
        except AttributeError:
            raise BeyondLoaderError(self._subject, f"has no function {name!r}, which its graph calls") from None
        function.restype = ctypes.c_int
        count = len(tensors)
        arguments = (ctypes.c_uint64 * count)(*(ctypes.addressof(tensor) for tensor in tensors))
        codes = (ctypes.c_int * count)(*([_TENSOR] * count))
        result, result_code = ctypes.c_uint64(), ctypes.c_int()
        fixed = (arguments, codes, ctypes.c_int(count), ctypes.byref(result), ctypes.byref(result_code), None)

        def call() -> None:
            status = function(*fixed)
            if status:
                reason = self._last_error.strip().splitlines()
                self._last_error = ""
                if self._wanted:
                    raise BeyondLoaderError(self._subject, f"{name} calls {self._wanted}")
                raise EngineError(self._subject, f"{name} failed ({reason[0] if reason else f'status {status}'})")

        return call

    def _fill(self, name: str, callback: Any) -> None:
        """Put a function into one of the library's pointer variables, if it has it."""
        try:
            variable = ctypes.c_void_p.in_dll(self._library, name)
        except ValueError:
            return
        variable.value = ctypes.cast(callback, ctypes.c_void_p).value
        self._callbacks.append(callback)  # ctypes does not keep it alive

    def _set_last_error(self, message: bytes) -> None:
        self._last_error = (message or b"").decode("utf-8", "replace")

    def _alloc_workspace(self, _device: int, _id: int, nbytes: int, _code: int, _bits: int) -> int:
        address = self._workspaces.take(nbytes)
        if address is None:
            self._last_error = f"there are no {nbytes} bytes for a workspace"
        return address or 0

    def _free_workspace(self, _device: int, _id: int, address: int) -> int:
        return 0 if self._workspaces.give_back(address) else _FAILED

    def _parallel_launch(self, address: int, data: int, wanted: int) -> int:
        loop = self._loops.get(address)
        if loop is None:
            loop = self._loops.setdefault(address, _Loop(_Task(address), self._pool))
        return loop.run(data, wanted if wanted > 0 else self._pool.threads)

    def _refusal(self, name: str) -> Callable[[], int]:
        def refuse() -> int:
            self._wanted = name.lstrip("_")
            return _FAILED

        return refuse
