"""A disk that can be told to be full or to fail, and one that loses power: for processes that are started here.

The shim (disk_shim.c) is preloaded into them and sits between SQLite, or whatever writes, and the C library.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

import pytest

_SOURCE = Path(__file__).with_name("disk_shim.c")
_ENTRY = struct.Struct("=cQQII")
_SECTOR = 512


@lru_cache(maxsize=None)
def _compiled(directory: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    library = directory / "disk_shim.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


class Disk:
    """The directory `root`/disk as the started process's disk.

    Args:
        root: for the shim, its journal and its faults.
    """

    def __init__(self, root: Path) -> None:
        self.directory = root / "disk"
        self.directory.mkdir()
        self._root = root
        self._journal = root / "journal"

    def environment(self, bad: Optional[Tuple[Path, int]] = None) -> Dict[str, str]:
        """What the process is started with; `bad` is a file and an offset in it that cannot be read."""
        sector = {"DISK_SHIM_BAD_FILE": str(bad[0]), "DISK_SHIM_BAD": str(bad[1])} if bad else {}
        return {
            **sector,
            "LD_PRELOAD": str(_compiled(self._root)),
            "DISK_SHIM_DIR": f"{self.directory}/",
            "DISK_SHIM_JOURNAL": str(self._journal),
            "DISK_SHIM_FAULT": str(self._root / "fault"),
        }

    def begin(self, fault: str) -> None:
        """`full` or `eio`."""
        (self._root / f"fault.{fault}").touch()

    def end(self, fault: str) -> None:
        (self._root / f"fault.{fault}").unlink()

    def journal(self) -> List[Step]:
        return list(_steps(self._journal.read_bytes()))


class Step(NamedTuple):
    """One thing that happened. `other` is a second path, `offset` a length for a truncation."""

    kind: str
    at_ns: int
    path: str
    offset: int
    data: bytes

    @property
    def other(self) -> str:
        return os.fsdecode(self.data)


def _steps(data: bytes) -> Iterator[Step]:
    position = 0
    while position < len(data):
        kind, at_ns, offset, path_size, data_size = _ENTRY.unpack_from(data, position)
        position += _ENTRY.size
        path = os.fsdecode(data[position : position + path_size])
        position += path_size
        yield Step(kind.decode(), at_ns, path, offset, data[position : position + data_size])
        position += data_size


class _File:
    """Contents that the disk has for good, and what was done since."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.since: List[Tuple[int, Optional[bytes]]] = []

    def sync(self) -> None:
        for offset, data in self.since:
            self._apply(self.durable, offset, data)
        self.since.clear()

    def after_power_cut(self, choices: random.Random) -> bytes:
        """What a disk may hold that has written some of it, in any order, and torn some."""
        content = bytearray(self.durable)
        for offset, data in self.since:
            fate = choices.random()
            if fate < 0.5:
                self._apply(content, offset, data)
            elif fate < 0.7 and data is not None:
                for start in range(0, len(data), _SECTOR):
                    if choices.random() < 0.5:
                        self._apply(content, offset + start, data[start : start + _SECTOR])
        return bytes(content)

    @staticmethod
    def _apply(content: bytearray, offset: int, data: Optional[bytes]) -> None:
        if data is None:
            del content[offset:]
            content.extend(bytes(max(0, offset - len(content))))
        else:
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data


def cut_power(steps: List[Step], source: Path, target: Path, choices: random.Random) -> None:
    """Make `target` what `source` may be after `steps` and a power cut.

    A synced file has its bytes for good; of the others any part may be there. Names come and go in order, as on a
    journaling file system, and for good when their directory is synced.
    """
    names: Dict[str, Optional[_File]] = {}
    durable_names: Dict[str, Optional[_File]] = {}
    history: List[Dict[str, Optional[_File]]] = []
    for step in steps:
        if step.kind == "w":
            _there(names, step.path).since.append((step.offset, step.data))
        elif step.kind == "t":
            _there(names, step.path).since.append((step.offset, None))
        elif step.kind == "s" and isinstance(names.get(step.path), _File):
            _there(names, step.path).sync()
        elif step.kind == "s":
            durable_names, history = dict(names), []
        else:
            _rename(names, step)
            history.append(dict(names))
    final = choices.choice([durable_names, *history])
    for name, file in sorted(final.items()):
        path = target / Path(name).relative_to(source)
        if file is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.after_power_cut(choices))


def _there(names: Dict[str, Optional[_File]], path: str) -> _File:
    file = names[path]
    assert file is not None
    return file


def _rename(names: Dict[str, Optional[_File]], step: Step) -> None:
    if step.kind == "c":
        names[step.path] = _File()
    elif step.kind == "m":
        names[step.path] = None
    elif step.kind in "ud":
        del names[step.path]
    elif step.kind == "l":
        names[step.other] = names[step.path]
    elif step.kind == "r":
        below = [name for name in names if name == step.path or name.startswith(f"{step.path}/")]
        for name in below:
            names[step.other + name[len(step.path) :]] = names.pop(name)
