"""The record file: one JSON object a line for each message that IoT Core would have received."""

from __future__ import annotations

import base64
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Union

from edge_agent.errors import NucleusError
from edge_agent.greengrass.bounded_json import loads

_NOT_ON_A_LINE = b"\0\r\n"


class Record:
    """Appends publishes to a file. A line is with the kernel before its publish is acknowledged, so that killing the
    process loses nothing; losing power may.

    Raises:
        NucleusError: the file cannot be opened.
    """

    def __init__(self, path: Union[str, Path]) -> None:
        self.path = Path(path)
        try:
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise NucleusError(str(path), f"cannot be opened for the record: {error.strerror}") from error

    def write(self, topic: str, payload: bytes, qos: int) -> None:
        """Append one message; OSError when the disk does not take it."""
        received_at = datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
        head = _json({"topic": topic, "qos": qos, "received_at": received_at})
        self._append(head[:-1] + b"," + _body(payload) + b"}\n")

    def _append(self, data: bytes) -> None:
        size = os.fstat(self._file.fileno()).st_size
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError:
            os.ftruncate(self._file.fileno(), size)  # no half line before the next message
            raise

    def close(self) -> None:
        self._file.close()


def _body(payload: bytes) -> bytes:
    try:
        value = loads(payload)
    except ValueError:
        return b'"payload_base64":"' + base64.b64encode(payload) + b'"'
    # As it came, where that is text on one line; JSON may also be UTF-16 or stand on several lines.
    plain = payload.isascii() and not any(byte in payload for byte in _NOT_ON_A_LINE)
    return b'"payload":' + (payload if plain else _json(value))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
