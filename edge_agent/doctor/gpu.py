"""The GPU's libraries against what compiled models want: by the packages themselves, and by compiler options."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Set

import msgspec

from edge_agent.doctor.finding import BROKEN, OK, WARNING, Finding
from edge_agent.errors import ConfigError, EdgeAgentError
from edge_agent.model import open_package
from edge_agent.model.manifest import NEO_RUNTIMES
from edge_agent.model.neo.artifacts import read_platform, subject_of

# Names of NVIDIA's libraries as they stand in the dynamic section of a library that needs them.
_NEEDED = re.compile(
    rb"(?<=\0)lib(?:nvinfer|nvinfer_plugin|cudart|cudnn|cublas|cublasLt|cuda|nvrtc|curand|cufft)\.so(?:\.\d+)*(?=\0)"
)
_LIBRARIES = ("/usr/lib/*-linux-gnu", "/usr/lib/*-linux-gnu/tegra", "/usr/local/cuda/lib64", "/usr/lib64", "/usr/lib")

# Compute capability of the systems on a chip of Jetson devices (NVIDIA's own table).
_TEGRA = {"tegra210": "sm_53", "tegra186": "sm_62", "tegra194": "sm_72", "tegra234": "sm_87"}
_COMPATIBLE = Path("/proc/device-tree/compatible")

_SMI_TIMEOUT_S = 20.0


def read_compiler_options(text: str) -> Dict[str, str]:
    """`{"gpu-code": "sm_72", "trt-ver": "8.2.1", "cuda-ver": "10.2"}`, or some of them.

    Raises:
        ConfigError: no JSON object of texts.
    """
    try:
        return msgspec.json.decode(text, type=Dict[str, str])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ConfigError(
            "--compiler-options", f"is no JSON object of texts ({error})", "Quote it: '{...}'."
        ) from error


class Libraries:
    """Shared libraries by name, as the loader of this machine would find them.

    Args:
        directories: searched before those of the system.
        system: directories of the system, as patterns.
    """

    def __init__(self, directories: Iterable[str], system: Iterable[str] = _LIBRARIES) -> None:
        places = [Path(text) for text in directories if text]
        places += [place for pattern in system for place in sorted(Path("/").glob(pattern.lstrip("/")))]
        self._places = places

    def has(self, name: str) -> bool:
        return any((place / name).exists() for place in self._places)

    def version(self, stem: str) -> Optional[str]:
        """The longest version in the names of `stem`'s files, links followed: libcudart.so.10.2.89 has 10.2.89."""
        found: Set[str] = set()
        for place in self._places:
            for file in place.glob(f"{stem}.so*"):
                found.update(re.findall(r"\.so\.([\d.]+)$", file.resolve().name))
        return max(found, key=lambda version: (version.count("."), version)) if found else None


def gpu_code(compatible: Path = _COMPATIBLE) -> Optional[str]:
    """`sm_72` of the GPU here; None where there is none, or nothing tells."""
    try:
        words = compatible.read_bytes().decode("ascii", "replace")
    except OSError:
        words = ""
    for chip, code in _TEGRA.items():
        if chip in words:
            return code
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--query-gpu=compute_cap", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
            errors="replace",
            timeout=_SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"(\d+)\.(\d+)\s", done.stdout)
    return f"sm_{match.group(1)}{match.group(2)}" if match and done.returncode == 0 else None


def check_gpu(
    packages: Mapping[str, Path], options: Mapping[str, str], libraries: Libraries, code: Optional[str]
) -> Iterator[Finding]:
    """Args:
    packages: path by model component.
    options: compiler options of a packaging job; empty for none.
    libraries: of this machine.
    code: of its GPU, as `gpu_code` gives it.
    """
    here = f"GPU {code or 'none that tells'}, CUDA {_or_none(libraries.version('libcudart'))}"
    here += f", TensorRT {_or_none(libraries.version('libnvinfer'))}"
    faults = [*_option_faults(options, libraries, code), *_package_faults(packages, libraries)]
    yield from faults
    if not faults:
        wanting = options or any(_wants_gpu(path) for path in packages.values())
        yield Finding(OK, here if wanting else "no packaged model wants a GPU")


def _option_faults(options: Mapping[str, str], libraries: Libraries, code: Optional[str]) -> Iterator[Finding]:
    wanted = options.get("gpu-code")
    if wanted is not None and code is None:
        yield Finding(
            BROKEN, f"gpu-code {wanted}: no NVIDIA GPU answers here", "Install its driver, or see nvidia-smi."
        )
    elif wanted is not None and wanted != code:
        yield Finding(BROKEN, f"gpu-code {wanted}, and the GPU here is {code}", f"Compile the model for {code}.")
    for key, stem, what in (("cuda-ver", "libcudart", "CUDA"), ("trt-ver", "libnvinfer", "TensorRT")):
        version, found = options.get(key), libraries.version(stem)
        if version is None:
            continue
        if found is None:
            yield Finding(BROKEN, f"{key} {version}: no {stem}.so is here", f"Install {what} {version}.")
        elif not f"{found}.".startswith(f"{version}.") and not f"{version}.".startswith(f"{found}."):
            yield Finding(
                BROKEN,
                f"{key} {version}, and {what} here is {found}",
                f"Compile the model for it, or install {what} {version}.",
            )


def _package_faults(packages: Mapping[str, Path], libraries: Libraries) -> Iterator[Finding]:
    for component, path in packages.items():
        if not _wants_gpu(path):
            continue
        if not path.is_dir():
            yield Finding(WARNING, f"{component} is a zip; its libraries are not looked at", "Unpack it to have that.")
            continue
        with open_package(path) as package:
            stage = package.stage_directory()
            own = {file.name for file in stage.iterdir()}
            needed = sorted({name for file in stage.glob("*.so") for name in _needed(file)})
        missing = [name for name in needed if name not in own and not libraries.has(name)]
        if missing:
            yield Finding(
                BROKEN,
                f"{component} needs {', '.join(missing)}, not here",
                "Install the CUDA and TensorRT that it was compiled for, or compile it for those here.",
            )


def _wants_gpu(path: Path) -> bool:
    """A package that is broken is the check models' matter."""
    try:
        with open_package(path) as package:
            if package.manifest.runtime not in NEO_RUNTIMES:
                return False
            stage = package.stage_directory()
            return read_platform(stage, subject_of(stage)).device == "gpu"
    except EdgeAgentError:
        return False


def _needed(library: Path) -> List[str]:
    if library.stat().st_size == 0:
        return []
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return [match.decode("ascii") for match in _NEEDED.findall(content)]


def library_path() -> List[str]:
    return os.environ.get("LD_LIBRARY_PATH", "").split(":")


def _or_none(version: Optional[str]) -> str:
    return version or "none"
