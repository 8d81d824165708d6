"""Unix sockets with a name in the file system: taken without stealing a live one, given back by whoever made them."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from edge_agent.errors import NucleusError

# sockaddr_un on Linux: 108 bytes with the closing NUL.
_MAX_PATH_BYTES = 107
_PROBE_SECONDS = 2.0
_BACKLOG = 128


def claim(path: Path, mode: int) -> socket.socket:
    """A listening socket at `path` with these permissions. A stale socket file is replaced.

    Raises:
        NucleusError: somebody answers there, the file is no socket, or the path cannot be used.
    """
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise NucleusError(str(path), f"is longer than {_MAX_PATH_BYTES} bytes", "Choose a shorter socket path")
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(mode)  # before listen: nobody can connect with the permissions the umask gave
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise NucleusError(str(path), f"cannot be made a socket: {error.strerror}") from error
    listener.setblocking(False)  # noqa: FBT003 - the socket module's signature
    return listener


def release(path: Path, inode: int) -> None:
    """Remove the socket file if it is still the one with this inode."""
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()


def _clear(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise NucleusError(str(path), f"cannot be looked at: {error.strerror}") from error
    if not stat.S_ISSOCK(status.st_mode):
        raise NucleusError(str(path), "exists and is no socket", "Choose another path or remove the file")
    if _answers(path):
        raise NucleusError(str(path), "is the socket of a running process", "Stop it or choose another path")
    try:
        path.unlink()
    except OSError as error:
        raise NucleusError(str(path), f"is a stale socket that cannot be removed: {error.strerror}") from error


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # a full backlog, or a socket that we may not use: alive as far as we can tell
        return True
