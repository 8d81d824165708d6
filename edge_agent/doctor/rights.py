"""Device files that the components' user must be able to open."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List

from edge_agent.doctor.account import READ, WRITE, Account, group_name
from edge_agent.doctor.finding import BROKEN, OK, WARNING, Finding

# Pattern below /dev, what it is, and how bad it is to be kept from it.
_DEVICES = (
    ("video*", "camera", BROKEN),
    ("gpiochip*", "GPIO chip", WARNING),
    ("nvhost-ctrl*", "GPU", WARNING),
    ("nvmap", "GPU", WARNING),
    ("nvidia[0-9]*", "GPU", WARNING),
    ("nvidiactl", "GPU", WARNING),
)


def check_groups(account: Account, devices: Path = Path("/dev")) -> Iterator[Finding]:
    """Args:
    account: of the components.
    devices: directory of the device files.
    """
    seen: List[str] = []
    closed = False
    for pattern, kind, status in _DEVICES:
        for path in sorted(devices.glob(pattern)):
            if path.is_dir():
                continue
            seen.append(path.name)
            if not account.may(path, READ | WRITE):
                closed = True
                group = group_name(path.stat().st_gid)
                yield Finding(
                    status,
                    f"{account.name} may not open {path} ({kind}, group {group})",
                    f"sudo usermod -aG {group} {account.name}, then restart the nucleus.",
                )
    if not closed:
        yield Finding(
            OK, f"{account.name} may open {', '.join(seen)}" if seen else f"{account.name}: no device files here"
        )
