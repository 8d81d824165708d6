"""The memory of a model's tensors, shared by the server and the child process. It has no name, so it goes with the last
of the two, however they end.

The child gives it its size and seals that, since a page that is gone would kill whoever touches it; the server believes
the seal and nothing else, for foreign code may have been at the descriptor.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from edge_agent.errors import EngineError

# <linux/fcntl.h>
_F_ADD_SEALS = 1033
_F_GET_SEALS = 1034
_SEAL_SEAL_SHRINK_GROW = 1 | 2 | 4

#: Bytes that the start of every tensor is aligned to; compiled code needs 64 or more.
ALIGNMENT = 128


def create_memory(subject: str) -> int:
    """A descriptor of memory without a size yet."""
    try:
        return os.memfd_create("edge-agent-neo", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise EngineError(subject, f"gets no memory for its tensors ({error.strerror})") from error


def give_size(descriptor: int, size: int, subject: str) -> mmap.mmap:
    """Take all of it at once, for good. In the child.

    Raises:
        EngineError: there is not so much memory.
    """
    try:
        os.posix_fallocate(descriptor, 0, size)
        fcntl.fcntl(descriptor, _F_ADD_SEALS, _SEAL_SEAL_SHRINK_GROW)
        return mmap.mmap(descriptor, size)
    except OSError as error:
        raise EngineError(subject, f"gets no {size} bytes for its tensors ({error.strerror})") from error


def attach(descriptor: int, size: int, subject: str) -> mmap.mmap:
    """What the child made. In the server.

    Raises:
        EngineError: it is not `size` bytes for good.
    """
    try:
        sealed = fcntl.fcntl(descriptor, _F_GET_SEALS) & _SEAL_SEAL_SHRINK_GROW == _SEAL_SEAL_SHRINK_GROW
        if sealed and os.fstat(descriptor).st_size == size:
            return mmap.mmap(descriptor, size)
    except (OSError, ValueError) as error:
        raise EngineError(subject, f"the memory of its tensors cannot be used ({error})") from error
    raise EngineError(subject, "its process spoilt the memory of its tensors")


def aligned(number: int) -> int:
    """The next address or offset that is aligned."""
    return -(-number // ALIGNMENT) * ALIGNMENT
