"""Writing a package so that there is a whole one or none: in a hidden place first, checked, then moved."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator

from edge_agent.errors import PackageError

_MANIFEST = "manifest.json"


def refuse_existing(target: Path, *, force: bool) -> None:
    """Raises PackageError where something of that name is in the way."""
    if target.exists() and not force:
        raise PackageError(str(target), "exists already", "Choose another name, or replace it with --force.")


@contextlib.contextmanager
def draft(target: Path, stage: str, *, force: bool = False) -> Iterator[Path]:
    """A hidden directory beside `target` that becomes it when the block ends well, and vanishes otherwise.

    Args:
        target: of the package: a directory, or a zip where its name ends in `.zip`.
        stage: name of the stage's directory, which is there already.
        force: replace what is there.

    Raises:
        PackageError: the place cannot be written, or something appeared there meanwhile.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=str(target.parent)))
    except OSError as error:
        raise PackageError(str(target.parent), f"cannot be written ({error.strerror})") from error
    try:
        content = hidden / "new"
        (content / stage).mkdir(parents=True)
        yield content
        ready = _zipped(content, hidden / "new.zip") if target.suffix == ".zip" else content
        refuse_existing(target, force=force)
        if target.exists():
            target.replace(hidden / "old")
        ready.replace(target)
    except OSError as error:
        raise PackageError(str(target), f"cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def write_manifest(content: Path, manifest: Dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (content / _MANIFEST).write_text(text + "\n", encoding="utf-8")


def _zipped(content: Path, target: Path) -> Path:
    """A zip of the directory; the manifest first, so that it is found without looking through the weights."""
    files = sorted((path for path in content.rglob("*") if path.is_file()), key=lambda path: path.name != _MANIFEST)
    # Weights hardly compress: the fastest level costs a small part of the time of the usual one.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in files:
            archive.write(file, str(file.relative_to(content)))
    return target
