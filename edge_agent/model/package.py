"""A packaged model as files: a directory or a zip with manifest.json and one directory per stage (contract 5.1)."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Optional, Type, Union

from edge_agent.errors import ManifestError, PackageError
from edge_agent.model.archive import largest_member, read_member, unpack
from edge_agent.model.manifest import MAX_MANIFEST_BYTES, ONNX, OPENVINO, Manifest, parse_manifest
from edge_agent.model.network_file import companions

MANIFEST = "manifest.json"
_SUFFIXES = {ONNX: ".onnx", OPENVINO: ".xml"}


class ModelPackage:
    """An opened package; a context manager. Closing removes what was unpacked. Make one with `open_package`.

    Attributes:
        name: the manifest's `package.name`, else the name of the directory or the stem of the zip.
        version: the manifest's `package.version`, or None.
        model_arn: the manifest's `package.model_arn`, or None.
        manifest: checked.
        manifest_bytes: what it was read from.
        directory: where manifest.json lies.
    """

    def __init__(self, path: Path, directory: Path, unpacked: Optional[Path]) -> None:
        self.path = path
        self.directory = directory
        self._unpacked = unpacked
        self.manifest_bytes = _read_manifest_file(directory)
        self.manifest = parse_manifest(self.manifest_bytes, str(path / MANIFEST))
        self.name = self.manifest.package.name or (path.stem if unpacked else path.name)
        self.version = self.manifest.package.version
        self.model_arn = self.manifest.package.model_arn

    def stage_directory(self) -> Path:
        """The directory of the stage.

        Raises:
            PackageError: missing, or it or what lies in it is a link that leads out of the package.
        """
        stage = _inside(self.directory, self.directory / self.manifest.stage.type, self.path)
        if not stage.is_dir():
            raise PackageError(str(self.path), f"has no directory {self.manifest.stage.type!r} for its stage")
        for entry in stage.iterdir():
            _inside(self.directory, entry, self.path)
        return stage

    def artifact(self) -> Path:
        """The network's file in the stage's directory, for a package of such a runtime: `*.onnx`, or `*.xml` of OpenVINO.

        Raises:
            ManifestError: another runtime.
            PackageError: the file is missing, or not the only one where the manifest names none, or outside; so for the
                files beside it that hold its weights.
        """
        manifest = self.manifest
        suffix = _SUFFIXES.get(manifest.runtime or "")
        if suffix is None:
            raise ManifestError(
                f"{self.path / MANIFEST}: runtime",
                f"is {manifest.runtime!r}, which is not supported",
                f"Use one of {', '.join(_SUFFIXES)}, or none for a model compiled by SageMaker Neo.",
            )
        stage = self.stage_directory()
        name = manifest.runtime_artifact
        if name is None:
            candidates = sorted(stage.glob(f"*{suffix}"))
            if len(candidates) != 1:
                raise PackageError(
                    str(self.path),
                    f"has {len(candidates)} *{suffix} files in {manifest.stage.type!r}, not one",
                    "Name the right one as runtime_artifact in the manifest.",
                )
            name = candidates[0].name
        artifact = self.file(str(Path(manifest.stage.type) / name))
        for companion in companions(artifact):
            if not _inside(self.directory, artifact.parent / companion, self.path).is_file():
                raise PackageError(
                    str(self.path),
                    f"has no file {manifest.stage.type}/{companion}, which holds weights of {artifact.name}",
                    "The files travel together: put it there, too.",
                )
        return artifact

    def file(self, place: str) -> Path:
        """A file that the manifest names by its place in the package.

        Raises:
            PackageError: missing, or outside.
        """
        file = _inside(self.directory, self.directory / place, self.path)
        if not file.is_file():
            raise PackageError(str(self.path), f"has no file {place}")
        return file

    def close(self) -> None:
        """Remove what was unpacked; a directory package stays as it is."""
        if self._unpacked is not None:
            shutil.rmtree(self._unpacked, ignore_errors=True)
            self._unpacked = None

    def __enter__(self) -> ModelPackage:  # noqa: PYI034 - typing.Self is newer than Python 3.8
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


def open_package(path: Union[str, Path]) -> ModelPackage:
    """Open a packaged model: a directory, or a zip, which is unpacked to a private temporary directory.

    Raises:
        PackageError: missing, torn, too large, or climbing out of itself.
        ManifestError: manifest.json does not describe a model that we run.
    """
    path = Path(path)
    if path.is_dir():
        return ModelPackage(path, path, None)
    if not path.is_file():
        raise PackageError(str(path), "is neither a directory nor a zip file")
    try:
        unpacked = Path(tempfile.mkdtemp(prefix="edge-agent-model-"))
    except OSError as error:
        raise PackageError(str(path), f"cannot be unpacked ({error})", "Free space, or set TMPDIR.") from error
    try:
        unpack(path, unpacked)
        return ModelPackage(path, _find_top(unpacked, path), unpacked)
    except BaseException:
        shutil.rmtree(unpacked, ignore_errors=True)
        raise


def read_manifest(path: Union[str, Path]) -> Manifest:
    """The checked manifest of a package, without unpacking or loading anything.

    Raises:
        PackageError, ManifestError: as `open_package`.
    """
    path = Path(path)
    data = _read_manifest_file(path) if path.is_dir() else read_member(path, MANIFEST, MAX_MANIFEST_BYTES)
    return parse_manifest(data, str(path / MANIFEST))


def largest_file(path: Path) -> int:
    """Bytes of the largest file of a package, unpacked; 0 where it cannot be read."""
    if not path.is_dir():
        return largest_member(path)
    sizes = [0]
    for top, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                sizes.append(Path(top, name).stat().st_size)
    return max(sizes)


def _find_top(unpacked: Path, path: Path) -> Path:
    if (unpacked / MANIFEST).is_file():
        return unpacked
    entries = list(unpacked.iterdir())
    if len(entries) == 1 and (entries[0] / MANIFEST).is_file():
        return entries[0]
    raise PackageError(str(path), f"holds no {MANIFEST} at its top or in one single top directory")


def _read_manifest_file(directory: Path) -> bytes:
    file = _inside(directory, directory / MANIFEST, directory)
    if not file.is_file():
        raise PackageError(str(directory), f"holds no {MANIFEST}")
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise PackageError(str(directory), f"{MANIFEST} cannot be read ({error.strerror})") from error
    if len(data) > MAX_MANIFEST_BYTES:
        raise PackageError(str(directory), f"has a {MANIFEST} of more than {MAX_MANIFEST_BYTES} bytes")
    return data


def _inside(directory: Path, target: Path, path: Path) -> Path:
    """`target` with links followed, if it still lies in the package."""
    try:
        root, real = directory.resolve(), target.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise PackageError(str(path), f"names a path that cannot be followed ({error})") from error
    if real != root and root not in real.parents:
        raise PackageError(str(path), f"names {str(target)!r}, which lies outside the package")
    return real
