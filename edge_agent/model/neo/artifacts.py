"""Which files of a stage's directory are the compiled model, and whether this machine can run them."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import msgspec

from edge_agent.errors import EngineError, PackageError

_MAX_META_BYTES = 4 * 1024 * 1024
_RUNTIME_LIBRARY = "libdlr.so"  # Neo's own runtime, which packages carry beside the model

# ELF: e_machine is a little-endian 16-bit number at offset 18.
_ELF_HEADER_BYTES = 20
_MACHINES = {3: "x86", 40: "arm", 62: "x86_64", 183: "aarch64"}

#: What to do with a model that only Neo's own runtime can run.
ELSEWHERE = "AWS's own Edge Agent runs such models; this server runs Neo models compiled for a CPU."


class Artifacts(NamedTuple):
    """A compiled model for the CPU."""

    library: Path
    graph: Path
    params: Path


def find_artifacts(directory: Path, subject: str) -> Artifacts:
    """The compiled model in a stage's directory, found by extension as Neo's runtime finds it.

    Args:
        directory: of the stage.
        subject: what messages call it.

    Raises:
        PackageError: a file is missing, or there are two of a kind.
        EngineError: compiled for a GPU, for Neo's virtual machine or for another processor.
    """
    try:
        names = sorted(path.name for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise PackageError(subject, f"cannot be read ({error.strerror})") from error
    if any(name.endswith(".ro") for name in names):
        raise EngineError(subject, "holds a relay-VM model (*.ro), which needs Neo's own runtime", ELSEWHERE)
    for name in names:
        if name.endswith(".meta"):
            _check_target(directory / name, subject)
    artifacts = Artifacts(
        library=directory / _only([n for n in names if n.endswith(".so") and n != _RUNTIME_LIBRARY], "*.so", subject),
        graph=directory / _only([n for n in names if n.endswith(".json") and n != "version.json"], "*.json", subject),
        params=directory / _only([n for n in names if n.endswith(".params")], "*.params", subject),
    )
    _check_machine(artifacts.library, subject)
    return artifacts


def _only(names: List[str], kind: str, subject: str) -> str:
    if len(names) != 1:
        found = f" ({', '.join(names[:4])})" if names else ""
        raise PackageError(
            subject,
            f"holds {len(names)} {kind} files{found}, not one",
            "A SageMaker Neo model for a CPU is one *.so, one *.json and one *.params.",
        )
    return names[0]


def _check_target(path: Path, subject: str) -> None:
    try:
        with path.open("rb") as file:
            document = msgspec.json.decode(file.read(_MAX_META_BYTES), type=Dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PackageError(subject, f"has a {path.name} that is not valid JSON ({error})") from error
    requirements = document.get("Requirements")
    target = requirements.get("TargetDeviceType") if isinstance(requirements, dict) else None
    if target is not None and target != "cpu":
        raise EngineError(subject, f"is compiled for {target!r} ({path.name}), not for a CPU", ELSEWHERE)


def _check_machine(library: Path, subject: str) -> None:
    try:
        with library.open("rb") as file:
            header = file.read(_ELF_HEADER_BYTES)
    except OSError as error:
        raise PackageError(subject, f"{library.name} cannot be read ({error.strerror})") from error
    if len(header) < _ELF_HEADER_BYTES or header[:4] != b"\x7fELF":
        raise PackageError(subject, f"{library.name} is no shared library", "Copy the package anew.")
    code = int.from_bytes(header[18:20], "little")
    found, here = _MACHINES.get(code, f"ELF machine {code}"), platform.machine()
    if found != here:
        raise EngineError(
            subject, f"{library.name} is compiled for {found}, but this machine is {here}", "Compile it for this one."
        )
