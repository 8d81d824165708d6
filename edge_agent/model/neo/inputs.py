"""Whether a compiled model takes what its manifest says."""

from __future__ import annotations

from typing import Sequence, Tuple

from edge_agent.errors import EngineError
from edge_agent.model.engine import describe

_TYPE = "float32"


def check_inputs(subject: str, wanted: Sequence[int], found: Sequence[Tuple[str, Sequence[int]]]) -> None:
    """Raise EngineError unless there is one input, of float32 and this shape.

    Args:
        subject: what messages call the model.
        wanted: the shape.
        found: type and shape of each input; sides below zero are unknown and fit anything.
    """
    if len(found) == 1:
        dtype, shape = found[0]
        if dtype == _TYPE and len(shape) == len(wanted) and all(b in (a, -1) for a, b in zip(wanted, shape)):
            return
    listed = ", ".join(f"{dtype} {_listed(shape)}" for dtype, shape in found) or "none"
    reason = f"its input does not fit its manifest: expected {_TYPE} {describe(wanted)}; found {listed}"
    raise EngineError(subject, reason)


def _listed(shape: Sequence[int]) -> str:
    return describe([side if side >= 0 else None for side in shape])
