"""What a request is answered with, worked out from docs/server.md alone, for the two models of the experiment.

`bolts` is RUNNING, `idle` is STOPPED. What the message alone shows to be wrong comes before the model's state, and
that before what the segments turn out to be.
"""

from __future__ import annotations

from typing import Any, Dict

from google.protobuf.message import DecodeError

from edge_agent.wire import edge_agent_pb2 as wire
from faults.client_memory import MASK_BYTES, Segments

MAX_MESSAGE_BYTES = 64 << 20

REQUESTS: Dict[str, Any] = {
    "DetectAnomalies": wire.DetectAnomaliesRequest,
    "StartModel": wire.StartModelRequest,
    "StopModel": wire.StopModelRequest,
    "DescribeModel": wire.DescribeModelRequest,
    "ListModels": wire.ListModelsRequest,
}


class Documented:
    """The code of docs/server.md for a request, given the models and the client's segments."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    def code(self, method: str, data: bytes) -> str:
        """The name of the status."""
        if method not in REQUESTS:
            return "UNIMPLEMENTED"
        if len(data) > MAX_MESSAGE_BYTES:
            return "RESOURCE_EXHAUSTED"
        try:
            request = REQUESTS[method].FromString(data)
        except (DecodeError, UnicodeDecodeError):
            return "INVALID_ARGUMENT"
        return "OK" if method == "ListModels" else self._of_component(method, request)

    def _of_component(self, method: str, request: Any) -> str:
        if not request.model_component:
            return "INVALID_ARGUMENT"
        if request.model_component not in ("bolts", "idle"):
            return "NOT_FOUND"
        running = request.model_component == "bolts"
        if method == "DetectAnomalies":
            return self._detect(request, running=running)
        allowed = {"StartModel": not running, "StopModel": running, "DescribeModel": True}[method]
        return "OK" if allowed else "FAILED_PRECONDITION"

    def _detect(self, request: Any, *, running: bool) -> str:
        if not self._has_good_sides_and_sizes(request.bitmap):
            return "INVALID_ARGUMENT"
        if not running:
            return "FAILED_PRECONDITION"
        bitmap, mask = request.bitmap, request.anomaly_mask_params
        fits = bitmap.WhichOneof("data") == "byte_data" or self._fits(bitmap.shared_memory_handle)
        if mask.HasField("shared_memory_handle"):
            fits = fits and mask.shared_memory_handle.size >= MASK_BYTES and self._fits(mask.shared_memory_handle)
        return "OK" if fits else "INVALID_ARGUMENT"

    def _has_good_sides_and_sizes(self, bitmap: Any) -> bool:
        if not (64 <= bitmap.width <= 4096 and 64 <= bitmap.height <= 4096):
            return False
        needed = bitmap.width * bitmap.height * 3
        if bitmap.WhichOneof("data") == "byte_data":
            return len(bitmap.byte_data) == needed
        if bitmap.WhichOneof("data") is None or bitmap.shared_memory_handle.size < needed:
            return False
        padded_row = (bitmap.width * 3 + 3) // 4 * 4
        return bitmap.width % 4 == 0 or bitmap.shared_memory_handle.size != padded_row * bitmap.height

    def _fits(self, handle: Any) -> bool:
        name = handle.name if handle.name.startswith("/") else f"/{handle.name}"
        size = self._segments.sizes.get(name, 0)
        return size > 0 and int(handle.offset) + int(handle.size) <= size
