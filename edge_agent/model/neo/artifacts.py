"""Which files of a stage's directory are the compiled model, what can run it, and whether this machine can."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import msgspec

from edge_agent.errors import EngineError, PackageError
from edge_agent.model.neo.errors import BeyondLoaderError

_MAX_META_BYTES = 4 * 1024 * 1024
_RUNTIME_LIBRARY = "libdlr.so"  # Neo's own runtime, which packages carry beside the model
_OTHER_JSON = ("version.json", "model-shapes.json", "hyperparams.json")  # files of SageMaker's that are no graph

# ELF: e_machine is a little-endian 16-bit number at offset 18.
_ELF_HEADER_BYTES = 20
_ELF_MAGIC = b"\x7fELF"
_MACHINES = {3: "x86", 40: "arm", 62: "x86_64", 183: "aarch64"}

#: DLPack's device type for each `Requirements.TargetDeviceType` of compiled.meta, as Neo's runtime has them.
CPU = 1
_DEVICES = {"cpu": CPU, "gpu": 2, "opencl": 4}

# What only Neo's own runtime can run, by the ending of a file.
_ENDINGS = {".ro": "is for Neo's virtual machine", ".tensorrt": "is for TensorRT"}


class Artifacts(NamedTuple):
    """A graph for the CPU."""

    library: Path
    graph: Path
    params: Path


class Runtime(NamedTuple):
    """Neo's own runtime, and the device type that the model wants from it."""

    library: Path
    device: int

    @property
    def device_name(self) -> str:
        return next(name for name, number in _DEVICES.items() if number == self.device)


class Platform(NamedTuple):
    """What a compiled model is for: `platform.machine()` there, and `cpu`, `gpu` or `opencl`."""

    machine: str
    device: str


def subject_of(directory: Path) -> str:
    """What messages call a stage."""
    return f"{directory.parent.name}/{directory.name}"


def find_artifacts(directory: Path, subject: str) -> Artifacts:
    """The graph for the CPU in a stage's directory, found by extension as Neo's runtime finds it.

    Args:
        directory: of the stage.
        subject: what messages call it.

    Raises:
        PackageError: a file is missing, or there are two of a kind.
        BeyondLoaderError: compiled for a GPU or for Neo's virtual machine.
        EngineError: compiled for another processor.
    """
    names = _names(directory, subject)
    for name in names:
        reason = _ENDINGS.get(Path(name).suffix)
        if reason:
            raise BeyondLoaderError(subject, f"{name} {reason}")
    target = _read_target(directory, names, subject)
    if target not in (None, "cpu"):
        raise BeyondLoaderError(subject, f"is compiled for {target!r}, not for a CPU")
    artifacts = Artifacts(
        library=directory / _only([n for n in names if n.endswith(".so") and n != _RUNTIME_LIBRARY], "*.so", subject),
        graph=directory / _only([n for n in names if n.endswith(".json") and n not in _OTHER_JSON], "*.json", subject),
        params=directory / _only([n for n in names if n.endswith(".params")], "*.params", subject),
    )
    _check_machine(artifacts.library, subject)
    return artifacts


def find_runtime(directory: Path, subject: str, why: str) -> Runtime:
    """Neo's own runtime in a stage's directory. What it makes of the other files is its own matter.

    Args:
        directory: of the stage.
        subject: what messages call it.
        why: the model needs it.

    Raises:
        PackageError: it is no shared library, or compiled.meta is torn.
        EngineError: it is not there, or it or the model is for another processor, or for a device without a name here.
    """
    names = _names(directory, subject)
    if _RUNTIME_LIBRARY not in names:
        raise EngineError(
            subject,
            f"{why}; that takes Neo's own runtime, and there is no {_RUNTIME_LIBRARY} beside the model",
            f"Put the {_RUNTIME_LIBRARY} there that SageMaker Neo delivered with it.",
        )
    target = _read_target(directory, names, subject) or "cpu"
    if target not in _DEVICES:
        raise EngineError(subject, f"is compiled for {target!r}, which is none of {', '.join(_DEVICES)}")
    runtime = Runtime(directory / _RUNTIME_LIBRARY, _DEVICES[target])
    _check_machine(runtime.library, subject)
    for name in names:
        if name.endswith(".so") and _read_header(directory / name, subject).startswith(_ELF_MAGIC):
            _check_machine(directory / name, subject)
    return runtime


def read_platform(directory: Path, subject: str) -> Platform:
    """What the compiled model in a stage's directory is for, without loading it.

    Raises:
        PackageError: no library of the model is there, it is no shared library, or compiled.meta is torn.
    """
    names = _names(directory, subject)
    libraries = [name for name in names if name.endswith(".so") and name != _RUNTIME_LIBRARY]
    if not libraries:
        raise PackageError(subject, "holds no *.so of a compiled model")
    return Platform(_machine_of(directory / libraries[0], subject), _read_target(directory, names, subject) or "cpu")


def _names(directory: Path, subject: str) -> List[str]:
    try:
        return sorted(path.name for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise PackageError(subject, f"cannot be read ({error.strerror})") from error


def _only(names: List[str], kind: str, subject: str) -> str:
    if len(names) != 1:
        found = f" ({', '.join(names[:4])})" if names else ""
        raise PackageError(
            subject,
            f"holds {len(names)} {kind} files{found}, not one",
            "A SageMaker Neo model for a CPU is one *.so, one *.json and one *.params.",
        )
    return names[0]


def _read_target(directory: Path, names: List[str], subject: str) -> Optional[str]:
    """The device that compiled.meta names, if it is there and names one."""
    target = None
    for name in names:
        if name.endswith(".meta"):
            try:
                with (directory / name).open("rb") as file:
                    document = msgspec.json.decode(file.read(_MAX_META_BYTES), type=Dict[str, Any])
            except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise PackageError(subject, f"has a {name} that is not valid JSON ({error})") from error
            requirements = document.get("Requirements")
            target = requirements.get("TargetDeviceType") if isinstance(requirements, dict) else None
    return None if target is None else str(target)


def _machine_of(library: Path, subject: str) -> str:
    header = _read_header(library, subject)
    if len(header) < _ELF_HEADER_BYTES or not header.startswith(_ELF_MAGIC):
        raise PackageError(subject, f"{library.name} is no shared library", "Copy the package anew.")
    code = int.from_bytes(header[18:20], "little")
    return _MACHINES.get(code, f"ELF machine {code}")


def _check_machine(library: Path, subject: str) -> None:
    found, here = _machine_of(library, subject), platform.machine()
    if found != here:
        raise EngineError(
            subject, f"{library.name} is compiled for {found}, but this machine is {here}", "Compile it for this one."
        )


def _read_header(library: Path, subject: str) -> bytes:
    try:
        with library.open("rb") as file:
            return file.read(_ELF_HEADER_BYTES)
    except OSError as error:
        raise PackageError(subject, f"{library.name} cannot be read ({error.strerror})") from error
