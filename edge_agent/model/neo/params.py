"""The weights file of a compiled model (`compiled.params`): a list of names, then as many arrays, little-endian.

Every number in it is checked against the size of the file before anything is allocated for it.
"""

from __future__ import annotations

import struct
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Iterator, List, NamedTuple, NoReturn, Optional, Tuple, Type

import numpy as np
import numpy.typing as npt

from edge_agent.errors import PackageError
from edge_agent.model.neo.graph import MAX_DIMENSIONS, MAX_ENTRIES, dtype_of

_LIST_MAGIC = 0xF7E58D4F05049CB7
_ARRAY_MAGIC = 0xDD5E40F096B4A13F
_MAX_NAME_BYTES = 4096
_CODES = {0: "int", 1: "uint", 2: "float"}


class Header(NamedTuple):
    """What a weight is, before its bytes are read."""

    name: str
    shape: Tuple[int, ...]
    dtype: "np.dtype[np.generic]"
    nbytes: int


class ParamsFile:
    """Reads a weights file from front to back; a context manager.

    Attributes:
        names: of the weights, in the order of the file.

    Raises:
        PackageError: missing, torn, or not such a file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file: BufferedReader = path.open("rb")
            self._left = path.stat().st_size
        except OSError as error:
            raise PackageError(str(path), f"cannot be read ({error.strerror})") from error
        try:
            self.names = self._read_names()
        except BaseException:
            self._file.close()
            raise
        self._pending = 0  # bytes of the current weight that are still in the file

    def headers(self) -> Iterator[Header]:
        """The weights in order. Take each one's bytes with `read_into`, or they are passed over."""
        (count,) = self._unpack("<Q")
        if count != len(self.names):
            self._fail(f"names {len(self.names)} weights and holds {count}")
        for name in self.names:
            header = self._read_header(name)
            self._pending = header.nbytes
            yield header
            if self._pending:
                self._file.seek(self._pending, 1)
                self._left -= self._pending

    def read_into(self, target: npt.NDArray[np.uint8]) -> None:
        """Fill `target` (bytes, as many as the header says) with the weight that `headers` gave last."""
        read = self._file.readinto(target.data)
        if read != self._pending or read != target.nbytes:
            self._fail("ends in the middle of a weight")
        self._left -= self._pending
        self._pending = 0

    def __enter__(self) -> ParamsFile:  # noqa: PYI034 - typing.Self is newer than Python 3.8
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._file.close()

    def _read_names(self) -> List[str]:
        magic, _, count = self._unpack("<QQQ")
        if magic != _LIST_MAGIC:
            self._fail("is not a weights file of a compiled model")
        if count > MAX_ENTRIES or count * 8 > self._left:
            self._fail(f"claims {count} weights, which its size rules out")
        names = []
        for _ in range(count):
            (length,) = self._unpack("<Q")
            if length > _MAX_NAME_BYTES:
                self._fail(f"holds a name of {length} bytes; at most {_MAX_NAME_BYTES} are allowed")
            try:
                names.append(self._take(length).decode("utf-8"))
            except UnicodeDecodeError:
                self._fail("holds a name that is no text")
        if len(set(names)) != len(names):
            self._fail("names a weight twice")
        return names

    def _read_header(self, name: str) -> Header:
        magic, _, _device, _device_id, dimensions = self._unpack("<QQiii")
        code, bits, lanes = self._unpack("<BBH")
        if magic != _ARRAY_MAGIC:
            self._fail(f"is torn before weight {name!r}")
        if not 0 <= dimensions <= MAX_DIMENSIONS:
            self._fail(f"gives weight {name!r} {dimensions} dimensions; at most {MAX_DIMENSIONS} are allowed")
        shape: Tuple[int, ...] = self._unpack(f"<{dimensions}q")
        (nbytes,) = self._unpack("<q")
        dtype = dtype_of(f"{_CODES.get(code, 'kind')}{bits}")
        if dtype is None or lanes != 1:
            self._fail(f"gives weight {name!r} a type that is not supported (code {code}, {bits} bits, {lanes} lanes)")
        size = dtype.itemsize
        for side in shape:
            # Side by side, so that no product grows beyond the file.
            if side < 0 or size * side > self._left:
                self._fail(f"gives weight {name!r} the shape {list(shape)}, which its size rules out")
            size *= side
        if size != nbytes or nbytes > self._left:
            self._fail(f"gives weight {name!r} {nbytes} bytes for a shape of {size}, with {self._left} left")
        return Header(name, shape, dtype, nbytes)

    def _unpack(self, form: str) -> Tuple[int, ...]:
        return struct.unpack(form, self._take(struct.calcsize(form)))

    def _take(self, count: int) -> bytes:
        data = self._file.read(count) if count <= self._left else b""
        if len(data) != count:
            self._fail("is torn")
        self._left -= count
        return data

    def _fail(self, reason: str) -> NoReturn:
        raise PackageError(str(self._path), reason, "Copy the package anew.")
