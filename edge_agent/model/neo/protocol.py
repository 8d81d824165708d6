"""What the server and the child process say to each other over two pipes.

The server writes one byte for each inference. The child answers, once when it has loaded and once for each inference:
a byte that says how it went, the length of what follows (32 bits, little-endian), and then subject, reason and remedy
of the error as UTF-8 with a zero byte between them; nothing after a success.
"""

from __future__ import annotations

import struct
from typing import Type

from edge_agent.errors import EngineError, ModelError, PackageError

RUN = b"R"

DONE = 0
_PACKAGE_ERROR = 1
_ENGINE_ERROR = 2

HEADER = struct.Struct("<BI")
MAX_TEXT_BYTES = 64 * 1024
_PARTS = 3


def encode_error(error: ModelError) -> bytes:
    parts = (error.subject, error.reason, error.remedy)
    text = "\0".join(part.replace("\0", " ") for part in parts).encode("utf-8", "replace")[:MAX_TEXT_BYTES]
    return HEADER.pack(_PACKAGE_ERROR if isinstance(error, PackageError) else _ENGINE_ERROR, len(text)) + text


def decode_error(kind: int, text: bytes) -> ModelError:
    """The error that the child met; foreign code may have spoilt it, so nothing about it is believed."""
    parts = (text.decode("utf-8", "replace").split("\0") + [""] * _PARTS)[:_PARTS]
    error: Type[ModelError] = PackageError if kind == _PACKAGE_ERROR else EngineError
    return error(parts[0], parts[1], parts[2])
