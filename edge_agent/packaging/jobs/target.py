"""Where a component shall run, from the request's TargetDevice or TargetPlatform (contract section 4.3)."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple


class Target(NamedTuple):
    """The machine of a request.

    Attributes:
        name: for file names: `jetson_xavier`, `arm64`, `x86_64_nvidia`.
        machine: as `platform.machine()` says there.
        architecture: as a recipe says it.
        gpu: whether an NVIDIA accelerator is there.
    """

    name: str
    machine: str
    architecture: str
    gpu: bool


def target_of(greengrass: Dict[str, Any]) -> Target:
    """The target of a checked Configuration.Greengrass."""
    device = greengrass.get("TargetDevice")
    if device is not None:  # the one there is: a Jetson AGX Xavier
        return Target(device, "aarch64", "aarch64", gpu=True)
    platform = greengrass["TargetPlatform"]
    gpu = "Accelerator" in platform
    name = platform["Arch"].lower() + ("_nvidia" if gpu else "")
    if platform["Arch"] == "ARM64":
        return Target(name, "aarch64", "aarch64", gpu)
    return Target(name, "x86_64", "amd64", gpu)
