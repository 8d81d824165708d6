"""A training that was cut short goes on where it was: its state lies beside the package to be, whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

from edge_agent.errors import TrainingError
from edge_agent.training.pictures import Pictures

_FILE = "checkpoint.pt"
_FORM = 1  # of the state; another one is not gone on with

_log = logging.getLogger(__name__)


class Checkpoint:
    """Made by `open_checkpoint`.

    Args:
        directory: of this training, which is its alone.
        fingerprint: of what it learns from and how; a state with another one is not its own.
        every_s: seconds between two states written.
    """

    def __init__(self, directory: Path, fingerprint: str, every_s: float) -> None:
        self._file = directory / _FILE
        self._fingerprint = fingerprint
        self._every_ns = int(every_s * 1e9)
        self._written_ns = time.monotonic_ns()

    def load(self) -> Optional[Dict[str, Any]]:
        """The newest state; None where this training has not left one."""
        import torch

        if not self._file.is_file():
            return None
        try:
            document = torch.load(str(self._file), map_location="cpu", weights_only=True)
            found, state = document["fingerprint"], document["state"]
        except Exception as error:  # noqa: BLE001 - PyTorch raises many types for what is no file of its own
            _log.warning("%s cannot be read (%s): the training begins anew", self._file, error)
            return None
        if found != self._fingerprint:
            _log.warning("%s is of a training with other images or settings: this one begins anew", self._file)
            return None
        own: Dict[str, Any] = state
        return own

    def is_due(self) -> bool:
        return time.monotonic_ns() - self._written_ns >= self._every_ns

    def save(self, state: Dict[str, Any]) -> None:
        """Raises TrainingError where the disk does not take it; the state before is still there then."""
        import torch

        draft = self._file.with_suffix(".new")
        try:
            with draft.open("wb") as file:
                torch.save({"fingerprint": self._fingerprint, "state": state}, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._file)
        except (OSError, RuntimeError) as error:  # PyTorch's word for a full disk is a RuntimeError
            raise TrainingError(str(self._file), f"cannot be written ({error})") from error
        self._written_ns = time.monotonic_ns()


@contextlib.contextmanager
def open_checkpoint(package: Path, fingerprint: str, *, resume: bool, every_s: float) -> Iterator[Checkpoint]:
    """The checkpoint of the training that makes `package`; gone when the block ends well, kept otherwise.

    Args:
        package: the directory to be.
        fingerprint: made by `fingerprint_of`.
        resume: go on with what an earlier run has left.
        every_s: seconds between two states written.

    Raises:
        TrainingError: the place cannot be written, or another process trains this package.
    """
    # Hidden, so that no model store takes it for a package.
    directory = package.with_name(f".{package.name}.training")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise TrainingError(str(directory), f"cannot be written ({error.strerror})") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(
                str(package), "is being trained by another process", "Wait for it, or choose another name."
            ) from error
        if not resume:
            for file in directory.iterdir():
                file.unlink()
        yield Checkpoint(directory, fingerprint, every_s)
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        with contextlib.suppress(OSError):
            directory.rmdir()  # where nothing was written
        os.close(descriptor)


def fingerprint_of(pictures: Pictures, **settings: Any) -> str:
    """Of everything that decides what comes out: the images and masks as the network sees them, and the settings."""
    digest = hashlib.sha256(json.dumps([_FORM, settings], sort_keys=True).encode())
    for array in (pictures.images, pictures.masks, pictures.labels):
        digest.update(array.data)
    return digest.hexdigest()
