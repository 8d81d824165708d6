"""Whether a model can be loaded at all: its largest file, the weights, has to be in memory.

That is the least it needs; what it needs in all, nobody knows before it has been loaded. So what is refused here could
not have been loaded, and what is let through may still turn out to need more: it is FAILED then, and says so.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Dict, Iterator, Optional

import grpc

from edge_agent.model import largest_file
from edge_agent.server.refusal import Refusal
from edge_agent.server.store import DeployedModel

_MIB = 1024 * 1024


def check_memory(package: DeployedModel) -> None:
    """Raise RESOURCE_EXHAUSTED for a package whose weights alone are more than the memory that is free."""
    needed = largest_file(package.path)
    free = free_bytes()
    if free is not None and needed > free:
        raise Refusal(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"{package.component}: not enough memory: its largest file has {-(-needed // _MIB)} MiB, and less is free",
        )


def free_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> Optional[int]:
    """The most memory that this process could still get, by the machine and by the limits of its control groups.

    Page cache counts as free, and so does swap space. None where the system does not say.
    """
    try:
        machine = _numbers(proc / "meminfo", unit=1024)
        swap = machine["SwapFree:"]
        limits = [machine["MemAvailable:"], *_group_limits(proc, cgroups)]
    except (OSError, KeyError):
        return None
    return min(limits) + swap


def _group_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """Room in each control group that this process is in, of either version of the kernel's interface."""
    lines = (proc / "self" / "cgroup").read_text().splitlines()
    for _, controllers, place in (line.split(":", 2) for line in lines):
        if "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
            top = cgroups / "memory"
        elif not controllers:
            names = ("memory.max", "memory.current", "")
            top = cgroups
        else:
            continue
        group = top / place.lstrip("/")
        for directory in (group, *group.parents):
            with contextlib.suppress(OSError, KeyError, ValueError):  # no limit, or not shown in a container
                cache = _numbers(directory / "memory.stat")
                reclaimable = cache[f"{names[2]}active_file"] + cache[f"{names[2]}inactive_file"]
                limit, used = (int((directory / name).read_text()) for name in names[:2])
                yield limit - used + reclaimable
            if directory == top:
                break


def _numbers(file: Path, unit: int = 1) -> Dict[str, int]:
    return {line.split()[0]: int(line.split()[1]) * unit for line in file.read_text().splitlines()}
