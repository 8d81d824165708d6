"""The shared memory of a client that resizes, unlinks and re-creates it as it likes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Dict

import numpy as np

HEIGHT, WIDTH = 240, 320
IMAGE_BYTES = HEIGHT * WIDTH * 3
MASK_BYTES = IMAGE_BYTES  # of the packages that make_package writes


class Segments:
    """The client's shared memory: an image and a mask, and names that are no segments. `sizes` is what there is."""

    PREFIX = f"faults-{os.getpid()}-"

    def __init__(self) -> None:
        self.sizes: Dict[str, int] = {}
        self.image, self.mask = f"/{self.PREFIX}image", f"/{self.PREFIX}mask"
        self.strange = [f"/{self.PREFIX}{kind}" for kind in ("link", "pipe", "directory", "empty")]

    def __enter__(self) -> Segments:  # noqa: PYI034 - typing.Self is newer than Python 3.8
        link, pipe, directory, empty = (self._path(name) for name in self.strange)
        link.symlink_to("/etc/passwd")
        os.mkfifo(pipe)
        directory.mkdir()
        empty.touch()
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        for path in Path("/dev/shm").glob(f"{self.PREFIX}*"):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    def restore(self) -> None:
        """Image and mask at their usual sizes, made anew where they are gone."""
        for name in (self.image, self.mask):
            if self.sizes.get(name) != IMAGE_BYTES:
                self.resize(name, IMAGE_BYTES)

    def resize(self, name: str, size: int) -> None:
        descriptor = os.open(self._path(name), os.O_CREAT | os.O_RDWR, 0o666)
        os.ftruncate(descriptor, size)
        os.close(descriptor)
        self.sizes[name] = size

    def write(self, pixels: np.ndarray) -> None:
        self._path(self.image).write_bytes(pixels.tobytes())

    def unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path(name).unlink()
        self.sizes.pop(name, None)

    def _path(self, name: str) -> Path:
        return Path("/dev/shm") / name[1:]
