"""The wheels that a component carries: the project's own, pip, and the dependencies for each target."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from edge_agent.errors import RecipeError

PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
# platform.machine() of the targets, and what Greengrass calls them.
MACHINES = {"x86_64": "amd64", "aarch64": "aarch64"}
# The last pip for Python 3.8; it serves all later ones too, so that one wheel is enough.
PIP = "pip==25.0.1"
# Ubuntu 18.04 (JetPack 4) has glibc 2.27; for newer Pythons the wheels of today ask for 2.28.
_GLIBC = {"3.8": 27}
_NEWER_GLIBC = 28
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "edge_agent")


class Target(NamedTuple):
    """A Python version ("3.8") on a machine ("aarch64") that wheels are carried for."""

    python: str
    machine: str


class Wheel(NamedTuple):
    path: Path
    name: str
    version: str
    sha256: str


def read_wheel(path: Path) -> Wheel:
    name, version = path.name.split("-")[:2]
    return Wheel(path, name.replace("_", "-").lower(), version, hashlib.sha256(path.read_bytes()).hexdigest())


def build_project(source: Path, work: Path) -> Wheel:
    """The project's own wheel, built from a copy: setuptools leaves files in the tree it builds in, and uses them again."""
    copy, out = work / "source", work / "project"
    for name in _SOURCES:
        item = source / name
        if item.is_dir():
            shutil.copytree(item, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        elif item.exists():
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy(item, copy / name)
    _pip([sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(out), str(copy)], "the project's wheel")
    return read_wheel(next(out.glob("*.whl")))


def download_pip(work: Path) -> Wheel:
    """The pip that installs on the device."""
    out = work / "pip"
    _pip([sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", str(out), PIP], PIP)
    return read_wheel(next(out.glob("*.whl")))


def download_dependencies(project: Wheel, extras: Tuple[str, ...], target: Target, out: Path) -> List[Wheel]:
    """The project and everything it needs on the target, sorted by name.

    Raises:
        RecipeError: no complete set of wheels exists for the target.
    """
    command = [sys.executable, "-m", "edge_agent.packaging.target_pip", target.python, target.machine, "download"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", target.python, "-d", str(out)]
    for platform in platforms(target):
        command += ["--platform", platform]
    requirement = str(project.path) + (f"[{','.join(extras)}]" if extras else "")
    _pip([*command, requirement], f"wheels for Python {target.python} on {target.machine}")
    return sorted(map(read_wheel, out.glob("*.whl")), key=lambda wheel: wheel.name)


def platforms(target: Target) -> List[str]:
    """The platform tags that the target can install, newest first."""
    newest = _GLIBC.get(target.python, _NEWER_GLIBC)
    oldest = 5 if target.machine == "x86_64" else 17
    old_names: Dict[int, str] = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    tags = []
    for minor in range(newest, oldest - 1, -1):
        tags.append(f"manylinux_2_{minor}_{target.machine}")
        if minor in old_names:
            tags.append(f"{old_names[minor]}_{target.machine}")
    return tags


def _pip(command: List[str], what: str) -> None:
    quiet = ["--quiet", "--disable-pip-version-check"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [*command, *quiet], cwd=str(root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace").strip().splitlines()
        errors = [line for line in said if line.startswith("ERROR")] or said[-1:] or ["no message"]
        raise RecipeError(what, f"pip could not get them ({errors[-1]})", "Is the package index reachable?")
