"""What a figure was measured on: without it, a figure says nothing."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Dict

_PACKAGES = (
    "edge-agent",
    "grpcio",
    "protobuf",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "awsiotsdk",
    "pillow",
)


def describe() -> Dict[str, Any]:
    return {
        "cpu": _cpu(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def pss_mb(pid: int) -> float:
    """Memory of a process, MB, what it shares with others counted in part (Linux, proc(5): smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"process {pid} has no Pss")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        # x86 names the model, ARM the part number.
        if line.startswith(("model name", "CPU part")):
            return line.split(":", 1)[1].strip()
    return "unknown"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
