"""Where TensorRT keeps the engines that it builds from one model.

TensorRT runs what it finds there, and ONNX Runtime recognises an engine by its graph alone: neither by its weights nor
by its maker's version. So nobody else may write there, and each state of a model has a directory of its own.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Iterable

from edge_agent.errors import EngineError
from edge_agent.model.digest import digest_of


def engine_directory(root: Path, files: Iterable[Path], subject: str, runtime: str) -> Path:
    """The directory for a model's engines, made if it is missing: ROOT/<digest>.

    Args:
        root: the cache; made with mode 0700 if it is missing.
        files: that the model is made of.
        subject: what errors about the model's files name.
        runtime: version of ONNX Runtime.

    Raises:
        EngineError: a file cannot be read, the directory cannot be made, or others than this user can write there.
    """
    digest = digest_of(files, subject, salt=runtime)
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        _check_ours(root)
        directory = root / digest
        directory.mkdir(mode=0o700, exist_ok=True)
        _check_ours(directory)
    except OSError as error:
        raise EngineError(str(root), f"cannot be TensorRT's cache ({error.strerror})") from error
    return directory


def _check_ours(directory: Path) -> None:
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise EngineError(
            str(directory),
            "cannot be TensorRT's cache: it is not a directory of this user that nobody else can write to",
            "Give it to the server's user, with mode 0700.",
        )
