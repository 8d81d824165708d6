"""What the server and the child process say to each other.

The child gets its job as its first argument, as JSON. The server then writes one byte to a pipe for each inference. The
child answers on another, once when it has loaded and once for each inference: a byte that says how it went, the length
of what follows (32 bits, little-endian), and then: `Loaded` as JSON; nothing after an inference; or subject, reason and
remedy of the error as UTF-8 with a zero byte between them.
"""

from __future__ import annotations

import struct
from typing import Dict, Optional, Tuple, Type, Union

import msgspec

from edge_agent.errors import EngineError, ModelError, PackageError
from edge_agent.model.neo.errors import BeyondLoaderError

RUN = b"R"

DONE = 0
_ENGINE_ERROR = 2
_ERRORS: Dict[int, Type[ModelError]] = {1: PackageError, _ENGINE_ERROR: EngineError, 3: BeyondLoaderError}

HEADER = struct.Struct("<BI")
MAX_TEXT_BYTES = 64 * 1024
_PARTS = 3


class GraphJob(msgspec.Struct, frozen=True, tag="graph"):
    """A graph on the CPU, with our own loader.

    Attributes:
        subject: what messages call the model.
        input_shape: of its one input, float32.
        sockets: families of sockets (AF_*) that its process may make.
        threads: for one inference.
    """

    subject: str
    input_shape: Tuple[int, ...]
    library: str
    graph: str
    params: str
    threads: int
    sockets: Tuple[int, ...] = ()


class RuntimeJob(msgspec.Struct, frozen=True, tag="runtime"):
    """Any model, with Neo's own runtime; threads are a matter of its environment. `device`: 1 CPU, 2 GPU, 4 OpenCL."""

    subject: str
    input_shape: Tuple[int, ...]
    directory: str
    runtime: str
    device: int
    sockets: Tuple[int, ...] = ()


Job = Union[GraphJob, RuntimeJob]


class Tensor(msgspec.Struct, frozen=True):
    """Where a tensor lies in the shared memory; `dtype` is NumPy's name of its type."""

    shape: Tuple[int, ...]
    dtype: str
    offset: int


class Tensors(msgspec.Struct, frozen=True):
    """The one input, the outputs in order, and the bytes that all of them take."""

    input: Tensor
    outputs: Tuple[Tensor, ...]
    size: int


class Loaded(msgspec.Struct, frozen=True):
    """The child is ready. `unshielded`: why it is not kept from the network, if it is not."""

    tensors: Tensors
    unshielded: Optional[str] = None


def encode_loaded(loaded: Loaded) -> bytes:
    text = msgspec.json.encode(loaded)
    return HEADER.pack(DONE, len(text)) + text


def encode_error(error: ModelError) -> bytes:
    parts = (error.subject, error.reason, error.remedy)
    text = "\0".join(part.replace("\0", " ") for part in parts).encode("utf-8", "replace")[:MAX_TEXT_BYTES]
    kind = next((kind for kind, error_type in _ERRORS.items() if type(error) is error_type), _ENGINE_ERROR)
    return HEADER.pack(kind, len(text)) + text


def decode_error(kind: int, text: bytes) -> ModelError:
    """The error that the child met; foreign code may have spoilt it, so nothing about it is believed."""
    parts = (text.decode("utf-8", "replace").split("\0") + [""] * _PARTS)[:_PARTS]
    return _ERRORS.get(kind, EngineError)(parts[0], parts[1], parts[2])
