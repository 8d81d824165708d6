"""Images and masks of a call as arrays: bytes of the message, or the client's shared memory without a copy.

A handle is a claim. Name, offset and size are checked against the segment as it is at that moment, in the turn of
the call itself. What remains: a client that shrinks a segment while its own call is being computed takes pages from
under the server, and the kernel ends the process that touches them (docs/server.md, Limits).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Dict, Optional, Tuple

import numpy as np

from edge_agent.errors import SharedMemoryError
from edge_agent.frame import CHANNELS, MAX_SIDE, MIN_SIDE, Pixels
from edge_agent.server.refusal import invalid
from edge_agent.shared_memory import Segment, attach_segment, check_range

_MAX_SEGMENTS = 64
_ACCESS = {"read": False, "write": True}
_ROW_ALIGNMENT = 4  # bytes to which GStreamer pads the rows of RGB images


class SegmentCache:
    """Mappings of the clients' segments, kept from call to call and dropped when the name leads elsewhere.

    Clients re-create segments under their old names and change their sizes, so a mapping is used only while its name
    still leads to the same inode with the same size. Nothing is ever unlinked here.

    A client may name a small part of a segment that is larger than all memory. Only the part counts: a mask's gets its
    memory before it is written, and an image's that was never written is copied, because to touch it would take memory.
    """

    def __init__(self, limit: int = _MAX_SEGMENTS) -> None:
        self._limit = limit
        self._segments: OrderedDict[Tuple[str, bool], Segment] = OrderedDict()
        self._lock = threading.Lock()

    def view(self, handle: Any, height: int, width: int, *, writable: bool = False) -> Pixels:
        """The pixels that a handle names, shape (height, width, 3), in the client's memory.

        Raises:
            SharedMemoryError: no such segment, the handle's range does not lie inside it, or no room for a mask.
        """
        key = (handle.name, writable)
        with self._lock:
            segment = self._segments.get(key)
            if segment is None or not segment.is_current():
                self._drop(key)
                segment = attach_segment(handle.name, writable=writable, offset=handle.offset, size=handle.size)
                self._segments[key] = segment
                while len(self._segments) > self._limit:
                    self._drop(next(iter(self._segments)))
            self._segments.move_to_end(key)
            check_range(handle.name, handle.offset, handle.size, segment.size)
            count = height * width * CHANNELS
            if writable:
                segment.reserve(handle.offset, count)
            elif segment.has_holes(handle.offset, count):
                return segment.copy(handle.offset, height, width)
            return segment.pixels(handle.offset, height, width)

    def sweep(self) -> None:
        """Drop what clients have unlinked, re-created or resized, so that their memory is really freed."""
        with self._lock:
            for key in [key for key, segment in self._segments.items() if not segment.is_current()]:
                self._drop(key)

    def mapped(self) -> Dict[str, Tuple[int, int]]:
        """How many segments are mapped and how many bytes they have, by access: `read` and `write`."""
        with self._lock:
            sizes = [(writable, segment.size) for (_, writable), segment in self._segments.items()]
        by_access = {name: [size for kind, size in sizes if kind is writable] for name, writable in _ACCESS.items()}
        return {name: (len(some), sum(some)) for name, some in by_access.items()}

    def close(self) -> None:
        with self._lock:
            for key in list(self._segments):
                self._drop(key)

    def _drop(self, key: Tuple[str, bool]) -> None:
        segment = self._segments.pop(key, None)
        if segment is not None:
            segment.close()


def check_bitmap(bitmap: Any) -> Optional[bytes]:
    """Raise INVALID_ARGUMENT unless the sides are within limits and there are pixels of the right number.

    Returns:
        The pixels that came in the message, None for those in shared memory. Each look at them copies them all, so
        they are read once, here.
    """
    width, height = bitmap.width, bitmap.height
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise invalid(f"bitmap: {width}x{height} pixels; each side must be {MIN_SIDE} to {MAX_SIDE}")
    kind = bitmap.WhichOneof("data")
    if kind is None:
        raise invalid("bitmap: neither byte_data nor shared_memory_handle is set")
    needed = height * width * CHANNELS
    data: Optional[bytes] = None
    if kind == "shared_memory_handle":
        found = bitmap.shared_memory_handle.size
        padded = height * -(-width * CHANNELS // _ROW_ALIGNMENT) * _ROW_ALIGNMENT
        # A larger size is a whole segment; this one is rows with padding, which would be read askew.
        wrong = found < needed or (found == padded and padded != needed)
    else:
        data = bytes(bitmap.byte_data)
        found = len(data)
        wrong = found != needed
    if wrong:
        raise invalid(
            f"bitmap: {width}x{height} RGB888 pixels are {needed} bytes without padding, but {kind} has {found}"
        )
    return data


def image_of(bitmap: Any, data: Optional[bytes], segments: SegmentCache) -> Pixels:
    """The image of a checked bitmap, shape (height, width, 3), read-only, without a copy; `data` as it was checked."""
    if data is not None:
        flat: Pixels = np.frombuffer(data, dtype=np.uint8)
        return flat.reshape(bitmap.height, bitmap.width, CHANNELS)
    try:
        return segments.view(bitmap.shared_memory_handle, bitmap.height, bitmap.width)
    except SharedMemoryError as error:
        raise invalid(f"bitmap: shared_memory_handle: {error}") from error


def mask_target(request: Any, mask_size: Optional[Tuple[int, int]], segments: SegmentCache) -> Optional[Pixels]:
    """Where the client wants the mask, shape (*mask_size, 3), writable; None when it comes back as bytes."""
    parameters = request.anomaly_mask_params
    if mask_size is None or not parameters.HasField("shared_memory_handle"):
        return None
    handle, (height, width) = parameters.shared_memory_handle, mask_size
    needed = height * width * CHANNELS
    if handle.size < needed:
        raise invalid(
            f"anomaly_mask_params: the mask is {width}x{height} RGB888 pixels and needs {needed} bytes, "
            f"but shared_memory_handle has {handle.size}"
        )
    try:
        return segments.view(handle, height, width, writable=True)
    except SharedMemoryError as error:
        raise invalid(f"anomaly_mask_params: shared_memory_handle: {error}") from error
