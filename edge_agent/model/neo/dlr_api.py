"""Neo's own runtime, `libdlr.so`, by its C API (dlr.h). Only in the child process.

Every function gives 0 for success; a model is a handle that all of them take by reference.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Deque, NoReturn, Optional, Tuple, Type

from edge_agent.errors import EngineError
from edge_agent.model.neo.graph import MAX_DIMENSIONS

_MAX_REASON = 400
_LISTEN_S = 1.0

_INT = ctypes.POINTER(ctypes.c_int)
_LONG = ctypes.POINTER(ctypes.c_int64)
_TEXT = ctypes.POINTER(ctypes.c_char_p)
_FUNCTIONS = {
    "CreateDLRModel": (ctypes.c_char_p, ctypes.c_int, ctypes.c_int),
    "GetDLRNumInputs": (_INT,),
    "GetDLRInputName": (ctypes.c_int, _TEXT),
    "GetDLRInputType": (ctypes.c_int, _TEXT),
    "GetDLRInputSizeDim": (ctypes.c_int, _LONG, _INT),
    "GetDLRInputShape": (ctypes.c_int, _LONG),
    "SetDLRInput": (ctypes.c_char_p, _LONG, ctypes.c_void_p, ctypes.c_int),
    "RunDLRModel": (),
    "GetDLRNumOutputs": (_INT,),
    "GetDLROutputType": (ctypes.c_int, _TEXT),
    "GetDLROutputSizeDim": (ctypes.c_int, _LONG, _INT),
    "GetDLROutputShape": (ctypes.c_int, _LONG),
    "GetDLROutput": (ctypes.c_int, ctypes.c_void_p),
}

# The runtime's log: "[09:31:40] /workspace/src/dlr.cc:321: what happened".
_LOG_PREFIX = re.compile(r"^\[\d\d:\d\d:\d\d\] \S+:\d+: ")


class DlrApi:
    """The library's functions, and the one model that they are called on.

    Args:
        path: of the library.
        subject: what messages call the model.

    Raises:
        EngineError: the library does not load, or is too old; from every call: what it says of the model.
    """

    def __init__(self, path: Path, subject: str) -> None:
        self._subject = subject
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise EngineError(
                subject,
                f"{path.name} does not load ({error})",
                "Install the drivers that the model was compiled for (CUDA, TensorRT), or a libdlr.so for those here.",
            ) from error
        self._handle = ctypes.c_void_p()
        self._functions = {name: self._bind(name, arguments) for name, arguments in _FUNCTIONS.items()}
        self._last_error = self._bind("DLRGetLastError", None)
        self._last_error.restype = ctypes.c_char_p

    def create(self, directory: Path, device: int) -> None:
        """Load the model in a directory."""
        # The runtime takes a list of paths with colons between them, so the directory's own name must not be in it.
        os.chdir(directory)
        with _Eavesdropper() as log:
            status = self._functions["CreateDLRModel"](ctypes.byref(self._handle), b".", device, 0)
        os.chdir("/")
        if status or self._handle.value is None:
            self._fail("CreateDLRModel", status, log.text)

    def call(self, name: str, *arguments: Any) -> None:
        status = self._functions[name](ctypes.byref(self._handle), *arguments)
        if status:
            self._fail(name, status)

    def number(self, name: str) -> int:
        value = ctypes.c_int()
        self.call(name, ctypes.byref(value))
        return value.value

    def text(self, name: str, index: int) -> str:
        value = ctypes.c_char_p()
        self.call(name, index, ctypes.byref(value))
        return (value.value or b"").decode("utf-8", "surrogateescape")

    def shape(self, name: str, index: int) -> Tuple[int, ...]:
        """Of an input or output (`name` is the beginning of the functions'); -1 where it is unknown."""
        size, dimensions = ctypes.c_int64(), ctypes.c_int()
        self.call(f"{name}SizeDim", index, ctypes.byref(size), ctypes.byref(dimensions))
        if not 0 <= dimensions.value <= MAX_DIMENSIONS:
            raise EngineError(self._subject, f"has a tensor of {dimensions.value} dimensions")
        sides = (ctypes.c_int64 * MAX_DIMENSIONS)()
        self.call(f"{name}Shape", index, sides)
        return tuple(sides[: dimensions.value])

    def _bind(self, name: str, arguments: Optional[Tuple[Any, ...]]) -> Any:
        try:
            function = self._library[name]
        except AttributeError:
            raise EngineError(
                self._subject, f"its libdlr.so has no {name}", "Put one there that is not older than DLR 1.6."
            ) from None
        function.restype = ctypes.c_int
        function.argtypes = () if arguments is None else (ctypes.POINTER(ctypes.c_void_p), *arguments)
        return function

    def _fail(self, name: str, status: int, log: str = "") -> NoReturn:
        """Say what the runtime says, without the stack trace after the first line; some errors go to its log alone."""
        said = (self._last_error() or b"").decode("utf-8", "replace").strip().splitlines()
        logged = [_LOG_PREFIX.sub("", line) for line in log.splitlines() if _LOG_PREFIX.match(line)]
        reason = next(iter(said or logged[-1:]), f"status {status}; the log may say more")
        raise EngineError(self._subject, f"{name} failed ({reason[:_MAX_REASON]})")


class _Eavesdropper:
    """Hears what goes to the log (descriptor 2) meanwhile, and passes it on at once."""

    def __enter__(self) -> _Eavesdropper:  # noqa: PYI034 - typing.Self is newer than Python 3.8
        self._heard: Deque[bytes] = deque(maxlen=8)
        self._log = os.dup(2)
        self._source, sink = os.pipe()
        os.dup2(sink, 2)
        os.close(sink)
        self._listener = threading.Thread(target=self._listen, name="log", daemon=True)
        self._listener.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        # That closes the pipe, so that the listener ends; unless a process that was started meanwhile still has it.
        os.dup2(self._log, 2)
        self._listener.join(_LISTEN_S)

    @property
    def text(self) -> str:
        return b"".join(self._heard).decode("utf-8", "replace")

    def _listen(self) -> None:
        while True:
            data = os.read(self._source, 4096)
            if not data:
                break
            self._heard.append(data)
            os.write(self._log, data)
        os.close(self._source)
        os.close(self._log)
