"""Reading and unpacking the zip of a packaged model, as if a stranger had made it.

Every member is judged before anything is written, and every byte is counted while it is written: what a header
claims is a reason to refuse, never a reason to trust.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from pathlib import Path
from typing import IO, List, Set

from edge_agent.errors import PackageError

MAX_MEMBERS = 1000
MAX_MEMBER_BYTES = 2 * 1024**3
MAX_TOTAL_BYTES = 4 * 1024**3
#: Weights compress 1.1 times, JSON 20 times, a bomb 1000 times.
MAX_RATIO = 200
#: Below this size no ratio is judged: a short file of one byte compresses well and harms nobody.
_RATIO_FREE_BYTES = 1024 * 1024

_CHUNK = 1024 * 1024
_ENCRYPTED = 1  # bit 0 of a member's flags

# What zipfile raises on torn, encrypted or foreign archives.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


def unpack(path: Path, destination: Path) -> None:
    """Unpack a zip into an empty directory that only this user can enter.

    Raises:
        PackageError: torn, or it holds what no package holds (docs/model-package.md lists the limits).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked_members(archive, path)
            writer = _Writer(path)
            for member in members:
                target = destination.joinpath(*_parts(member))
                if member.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source:
                    writer.write(source, target)
    except _ZIP_ERRORS as error:
        raise PackageError(str(path), f"cannot be unpacked ({_text(error)})", "Copy the package anew.") from error


def read_member(path: Path, name: str, limit: int) -> bytes:
    """The bytes of `name` in a package's zip, at its top or in its single top directory, without unpacking it.

    Raises:
        PackageError: torn, refused, no such member, or more than `limit` bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = {"/".join(_parts(member)): member for member in _checked_members(archive, path)}
            tops = {file.split("/", 1)[0] for file in files}
            places = [name] if name in files else [f"{top}/{name}" for top in tops if len(tops) == 1]
            member = next((files[place] for place in places if place in files), None)
            if member is None:
                raise PackageError(str(path), f"holds no {name} at its top or in one single top directory")
            with archive.open(member) as source:
                data = source.read(limit + 1)
    except _ZIP_ERRORS as error:
        raise PackageError(str(path), f"cannot be read ({_text(error)})", "Copy the package anew.") from error
    if len(data) > limit:
        raise PackageError(str(path), f"holds a {name} of more than {limit} bytes")
    return data


def largest_member(path: Path) -> int:
    """Bytes of the largest file in a package's zip, as the zip says; 0 where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return max((member.file_size for member in archive.infolist()), default=0)
    except _ZIP_ERRORS:
        return 0


def _checked_members(archive: zipfile.ZipFile, path: Path) -> List[zipfile.ZipInfo]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise PackageError(str(path), f"holds {len(members)} members; at most {MAX_MEMBERS} are allowed")
    names: Set[str] = set()
    files: Set[str] = set()
    folders: Set[str] = set()
    for member in members:
        parts = _parts(member)
        name = "/".join(parts)
        reason = "is there twice" if name in names else _refusal(member, parts)
        if reason:
            raise PackageError(str(path), f"member {member.filename!r} {reason}")
        names.add(name)
        folders.update("/".join(parts[:end]) for end in range(1, len(parts)))
        if not member.is_dir():
            files.add(name)
    if files & folders:
        raise PackageError(str(path), f"holds {min(files & folders)!r} both as a file and as a directory")
    total = sum(member.file_size for member in members)
    if total > MAX_TOTAL_BYTES:
        raise PackageError(str(path), f"unpacks to {total} bytes; at most {MAX_TOTAL_BYTES} are allowed")
    return members


def _refusal(member: zipfile.ZipInfo, parts: List[str]) -> str:
    """Why a package never holds such a member, or nothing."""
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    reasons = (
        (name.startswith("/") or "\\" in name, "has an absolute or foreign path"),
        (".." in parts or not (parts or member.is_dir()), "climbs out of the package"),
        (kind not in (0, stat.S_IFREG, stat.S_IFDIR), "is neither a file nor a directory"),
        (bool(member.flag_bits & _ENCRYPTED), "is encrypted"),
        (member.file_size > MAX_MEMBER_BYTES, f"unpacks to more than {MAX_MEMBER_BYTES} bytes"),
        (
            member.file_size > max(_RATIO_FREE_BYTES, MAX_RATIO * member.compress_size),
            f"unpacks to more than {MAX_RATIO} times its size (a zip bomb)",
        ),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__  # EOFError comes without a word


def _parts(member: zipfile.ZipInfo) -> List[str]:
    return [part for part in member.filename.split("/") if part not in ("", ".")]


class _Writer:
    """Writes members and counts what really comes out, against the limits and the real size of the zip."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._budget = min(MAX_TOTAL_BYTES, max(_RATIO_FREE_BYTES, MAX_RATIO * path.stat().st_size))
        self._written = 0

    def write(self, source: IO[bytes], target: Path) -> None:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in iter(lambda: source.read(_CHUNK), b""):
                self._written += len(chunk)
                if self._written > self._budget or file.tell() + len(chunk) > MAX_MEMBER_BYTES:
                    raise PackageError(str(self._path), f"unpacks to more than {self._budget} bytes (a zip bomb)")
                file.write(chunk)
