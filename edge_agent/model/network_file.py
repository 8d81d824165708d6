"""The file of a network: which files beside it hold its weights, and what an ONNX file says of itself.

ONNX is read without the `onnx` package, which a device does not have: the wire format of protocol buffers is walked, and
whatever is not asked for (the weights, most of all) is skipped without being read. Field numbers are those of
onnx.proto; they never change.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

# Which fields of which message lead to a tensor: field number -> message.
_NODE, _GRAPH, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION = "node", "graph", "attribute", "tensor", "sparse", "function"
_INNER: Dict[str, Dict[int, str]] = {
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE},
}
_EXTERNAL_DATA = 13  # of a tensor: entries with a key (1) and a value (2)
_LOCATION = b"location"
_DEPTH = 32  # graphs within attributes of nodes of graphs

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Span = Tuple[int, int]
_Field = Tuple[int, Union[int, _Span]]


def companions(artifact: Path) -> Tuple[str, ...]:
    """The files that hold a network's weights, relative to its own directory; an ONNX file may name any place."""
    if artifact.suffix == ".xml":  # OpenVINO
        return (artifact.with_suffix(".bin").name,)
    outline = read_outline(artifact)
    return () if outline is None else outline.external


class OnnxOutline(NamedTuple):
    """Versions of the format and of the default operator set, and the places of external weights as they are named."""

    ir_version: int
    opset: int
    external: Tuple[str, ...]


def read_outline(path: Path) -> Optional[OnnxOutline]:
    """The outline of an ONNX file, or None for one that is none, or torn."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Walk(data).outline()
    except (OSError, ValueError):  # ValueError: torn, empty, or none of ours
        return None


class _Walk:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._places: List[str] = []

    def outline(self) -> OnnxOutline:
        ir_version = opset = 0
        for number, value in self._fields((0, len(self._data))):
            if number == 1 and isinstance(value, int):
                ir_version = value
            elif isinstance(value, tuple):
                if number == 7:
                    self._collect(_GRAPH, value, _DEPTH)
                elif number == 8:
                    opset = self._default_opset(value) or opset
                elif number == 25:
                    self._collect(_FUNCTION, value, _DEPTH)
        return OnnxOutline(ir_version, opset, tuple(dict.fromkeys(self._places)))

    def _default_opset(self, span: _Span) -> int:
        """The version, if this entry is of the default domain."""
        domain, version = b"", 0
        for number, value in self._fields(span):
            if number == 1 and isinstance(value, tuple):
                domain = self._data[slice(*value)]
            elif number == 2 and isinstance(value, int):
                version = value
        return version if domain in {b"", b"ai.onnx"} else 0

    def _collect(self, message: str, span: _Span, depth: int) -> None:
        """Note the places of all tensors below a message."""
        if depth == 0:
            raise ValueError("nested too deeply")
        for number, value in self._fields(span):
            if not isinstance(value, tuple):
                continue
            if message == _TENSOR:
                if number == _EXTERNAL_DATA:
                    self._note(value)
            elif number in _INNER[message]:
                self._collect(_INNER[message][number], value, depth - 1)

    def _note(self, entry: _Span) -> None:
        texts = {number: self._data[slice(*value)] for number, value in self._fields(entry) if isinstance(value, tuple)}
        if texts.get(1) == _LOCATION:
            self._places.append(texts.get(2, b"").decode("utf-8"))

    def _fields(self, span: _Span) -> Iterator[_Field]:
        """(number, value) of each field: an integer, or the span of what is longer."""
        at, end = span
        while at < end:
            tag, at = self._varint(at, end)
            number, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                value, at = self._varint(at, end)
                yield number, value
                continue
            if kind == _BYTES:
                size, at = self._varint(at, end)
            elif kind in {_FIXED64, _FIXED32}:
                size = 8 if kind == _FIXED64 else 4
            else:
                raise ValueError(f"field of kind {kind}")
            if at + size > end:
                raise ValueError("torn")
            yield number, (at, at + size)
            at += size

    def _varint(self, at: int, end: int) -> Tuple[int, int]:
        value = shift = 0
        while at < end and shift < 64:
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise ValueError("torn")
