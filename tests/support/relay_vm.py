"""Packages with a model for Neo's virtual machine (`code.ro`), put together by hand: the model of `support.neo`.

The format is that of the TVM (0.8.dev0) in DLR 1.6: strings and lists come with their length in 64 bits; an
instruction is a list of a hash, its opcode and its fields. Registers, constants and functions go by number.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np
from support.neo import make_neo_package, params_bytes, weights

_MAGIC = 0xD225DE2F4214151D
_VERSION = "0.8.dev0"
_WORD = 2**64

_RETURN, _CALL, _TENSOR, _TUPLE, _CONSTANT, _NUMBER, _STORAGE, _RESHAPE = 1, 4, 5, 7, 11, 14, 16, 18
_FLOAT = (2, 32, 1)  # code, bits, lanes
_CPU = 1
_OPERATORS = ("fused_mask", "fused_class")


def make_relay_vm_package(directory: Path, *, runtime: bytes, mood: str = "sound") -> Path:
    """Write a package directory; `runtime` is its libdlr.so."""
    stage = make_neo_package(directory, mood=mood) / "mochi"
    for name in ("compiled_model.json", "compiled.params"):
        (stage / name).unlink()
    (stage / "libdlr.so").write_bytes(runtime)
    (stage / "code.ro").write_bytes(_executable((96, 128), mood))
    tensors = {"Inputs": [("input", [1, 3, 96, 128])], "Outputs": [("mask", [1, 2, None, None]), ("class", [1, 2])]}
    listed = {
        key: [{"name": name, "dtype": "float32", "shape": shape} for name, shape in found]
        for key, found in tensors.items()
    }
    document = {"Requirements": {"TargetDeviceType": "cpu"}, "Model": listed}
    (stage / "compiled.meta").write_text(json.dumps(document))
    return directory


def _executable(size: Tuple[int, int], mood: str) -> bytes:
    height, width = size
    constants = {**weights(mood), "flat": np.array([2 * height * width], np.int64)}
    image, gain, feeling, flat, zero, number, storage, mask, row, scores, both = range(11)
    steps = [
        *((_CONSTANT, index, register) for index, register in enumerate((gain, feeling, flat))),
        (_NUMBER, 0, zero),
        *_new_tensor((1, 2, height, width), number, storage, zero, mask),
        (_CALL, 0, 4, 1, image, gain, feeling, mask),
        (_RESHAPE, mask, flat, row),
        *_new_tensor((1, 2), number, storage, zero, scores),
        (_CALL, 1, 2, 1, row, scores),
        (_TUPLE, 0, 2, both, mask, scores),
        (_RETURN, both),
    ]
    data = struct.pack("<Q", _MAGIC) + _text(_VERSION) + _texts(["main"])
    data += struct.pack("<Q", len(constants)) + _arrays(constants) + _numbers([_CPU] * len(constants))
    data += _texts(_OPERATORS)
    data += (
        struct.pack("<Q", 1) + _texts(["main", str(both + 1), str(len(steps))]) + _texts(["input"]) + _numbers([_CPU])
    )
    return data + b"".join(_numbers([_hash(step), *step]) for step in steps)


def _new_tensor(shape: Tuple[int, ...], number: int, storage: int, zero: int, target: int) -> List[Tuple[int, ...]]:
    return [
        (_NUMBER, int(np.prod(shape)) * 4, number),
        (_STORAGE, number, 64, *_FLOAT, _CPU, storage),
        (_TENSOR, storage, zero, *_FLOAT, len(shape), target, *shape),
    ]


def _hash(step: Sequence[int]) -> int:
    """The runtime's check of an instruction, as a signed number."""
    key = step[0]
    for field in step[1:]:
        key ^= (field + 0x9E3779B9 + (key << 6) + (key >> 2)) % _WORD
    return key - _WORD if key >= _WORD // 2 else key


def _arrays(arrays: dict) -> bytes:
    """Arrays as a weights file has them, without its list of names."""
    names = sum(8 + len(name) for name in arrays)
    return params_bytes(arrays)[24 + names + 8 :]


def _numbers(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<Q{len(numbers)}q", len(numbers), *numbers)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _texts(texts: Sequence[str]) -> bytes:
    return struct.pack("<Q", len(texts)) + b"".join(_text(text) for text in texts)
