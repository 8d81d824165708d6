"""JSON from outside, read without deep recursion: Python 3.8 can abort the process on a document nested too deeply."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Union

#: The deepest nesting that is read.
MAX_DEPTH = 100

# Up to the end where a string is not closed: looking for its end again from each quote inside would take for ever.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def loads(data: Union[bytes, str]) -> Any:
    """The JSON value in `data`: finite numbers only, nested at most MAX_DEPTH deep. ValueError otherwise."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    # Most have few: then there is nothing to look for.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _check_depth(raw)
    return json.loads(raw, parse_float=_finite, parse_constant=_no_constant)


def _check_depth(raw: bytes) -> None:
    depth = 0
    for bracket in _STRING.sub(b"", raw).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} deep")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is out of range")
    return number


def _no_constant(text: str) -> float:
    # NaN and Infinity are no JSON, although Python reads and writes them.
    raise ValueError(f"{text} is not JSON")
