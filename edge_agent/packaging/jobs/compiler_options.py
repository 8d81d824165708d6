"""The member CompilerOptions: JSON in a text (contract section 4.3)."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, Optional

import msgspec

from edge_agent.packaging.jobs.forms import Fault, shown

# For an NVIDIA accelerator all three are needed.
_GPU = {
    "gpu-code": (r"sm_[0-9]{2,3}", "sm_72"),
    "trt-ver": (r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}", "8.2.1"),
    "cuda-ver": (r"[0-9]{1,4}\.[0-9]{1,4}", "10.2"),
}
_CPU = {"mcpu": (r"[A-Za-z0-9][A-Za-z0-9_.+,=\-]*", "core-avx2")}


def compiler_faults(options: Optional[str], path: str, *, gpu: bool) -> Iterator[Fault]:
    """What is wrong with them. A key that the service does not document is passed over: it documents no exclusion.

    Args:
        options: the text, of a length that is allowed; None where it is not given.
        path: of the member.
        gpu: whether the target has an NVIDIA accelerator.
    """
    if options is None:
        if gpu:
            yield Fault(path, f"is missing; an NVIDIA accelerator needs {', '.join(_GPU)}")
        return
    values = _read(options)
    if values is None:
        yield Fault(path, f'is {shown(options)}, not a JSON structure such as {{"mcpu": "core-avx2"}}')
        return
    if gpu:
        missing = [key for key in _GPU if key not in values]
        if missing:
            yield Fault(path, f"has no {', '.join(missing)}; an NVIDIA accelerator needs {', '.join(_GPU)}")
    for key, (pattern, example) in {**_GPU, **_CPU}.items():
        value = values.get(key, example)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            yield Fault(path, f"has {key} {shown(value)}, not a text of the form {example}")


def _read(options: str) -> Optional[Dict[str, Any]]:
    try:
        return msgspec.json.decode(options, type=Dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
