"""Whether a package is as it was made: `package.files` of its manifest has the SHA-256 of every other file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Dict, Iterator, Tuple

from edge_agent.errors import PackageError
from edge_agent.model.package import MANIFEST, ModelPackage

#: The file of the manifest's signature (trust.py), which the manifest cannot list.
SIGNATURE = "manifest.sig"

_CHUNK_BYTES = 1024 * 1024
_ANEW = "Copy the package anew from where it was made."


def files_of(directory: Path, subject: str, *, hidden: bool = False) -> Iterator[Tuple[str, Path]]:
    """Place and path of each file of a package but manifest and signature.

    Args:
        directory: of the package.
        subject: what errors name.
        hidden: give those too whose names begin with a dot; they are not part of a package.

    Raises:
        PackageError: a link leads out of the package.
    """
    root = directory.resolve()
    for path in sorted(directory.rglob("*")):
        place = path.relative_to(directory)
        if str(place) in {MANIFEST, SIGNATURE}:
            continue
        if not hidden and any(part.startswith(".") for part in place.parts):
            continue
        real = path.resolve()
        if root not in real.parents:
            raise PackageError(subject, f"holds {str(place)!r}, a link that leads out of the package")
        if real.is_file():
            yield place.as_posix(), real


def digests_of(directory: Path, subject: str) -> Dict[str, str]:
    """`package.files` of a package: SHA-256 in hexadecimal digits by place.

    Raises:
        PackageError: a link leads out of the package, or a file cannot be read.
    """
    return {place: _digest(path, subject) for place, path in files_of(directory, subject)}


def check_files(package: ModelPackage) -> None:
    """Hold the files of a package against its manifest; nothing to do where that lists none.

    Raises:
        PackageError: a file is missing, is another one, or is not listed.
    """
    listed = package.manifest.package.files
    if listed is None:
        return
    subject = str(package.path)
    found = dict(files_of(package.directory, subject, hidden=True))
    for place in sorted({*listed, *found}):
        if place not in found:
            raise PackageError(subject, f"has no file {place}, which its manifest lists", _ANEW)
        if place not in listed:
            raise PackageError(subject, f"holds {place}, which its manifest does not list", _ANEW)
        if _digest(found[place], subject) != listed[place].lower():
            raise PackageError(subject, f"has another file {place} than its manifest says", _ANEW)


def _digest(path: Path, subject: str) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
                digest.update(chunk)
    except OSError as error:
        raise PackageError(subject, f"{path.name} cannot be read ({error.strerror})") from error
    return digest.hexdigest()
