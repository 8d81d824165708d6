"""Deployments on the device itself, through the command line of its nucleus: greengrass-cli, or ggl-cli of nucleus lite.

A local deployment adds to what the device runs and changes it; components that it does not name stay on either nucleus.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Protocol

from edge_agent.clock import Clock
from edge_agent.deployment.settings import DeploymentSettings
from edge_agent.errors import DeploymentError

CLASSIC, LITE = "classic", "lite"
_PROGRAMS = {CLASSIC: "greengrass-cli", LITE: "ggl-cli"}

# The Java program of the classic nucleus takes seconds on a small device.
_CALL_TIMEOUT_S = 120.0

_ENDED_WELL, _ENDED_BADLY = ("SUCCEEDED",), ("FAILED", "CANCELED", "REJECTED")

# Keys of the file that say how a fleet gets it.
_CLOUD_ONLY = ("name", "update", "validation_timeout_s", "rollout", "abort", "device_timeout_min")


class Places(NamedTuple):
    """Directories as scripts/build_components writes them; None where the device has the components already."""

    recipes: Optional[Path]
    artifacts: Optional[Path]


class LocalNucleusCli(Protocol):
    """One nucleus's command line."""

    def installed(self) -> Dict[str, str]:
        """Versions by component, as far as the nucleus tells them."""

    def deploy(self, settings: DeploymentSettings, versions: Dict[str, str], places: Places) -> str:
        """Hand the deployment over; gives its id."""

    def wait(self, deployment: str, timeout_s: float, clock: Clock) -> str:
        """Until it has ended; gives what there is to say.

        Raises:
            DeploymentError: it failed, or is not done in time.
        """


class Program:
    """A program of the nucleus, run to its end."""

    def __init__(self, path: str) -> None:
        self.path = path

    def run(self, *arguments: str) -> str:
        """What it prints.

        Raises:
            DeploymentError: it cannot be started, fails or hangs; with the last line it printed.
        """
        subject = f"{Path(self.path).name} {' '.join(arguments[:2])}"
        try:
            done = subprocess.run(
                [self.path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                timeout=_CALL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeploymentError(subject, f"gave no answer in {_CALL_TIMEOUT_S:g} s", "Is the nucleus up?") from error
        except OSError as error:
            raise DeploymentError(subject, f"cannot be started ({error.strerror})") from error
        if done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()
            raise DeploymentError(
                subject,
                f"failed with exit status {done.returncode}: {lines[-1].strip()}",
                "It usually takes root: sudo.",
            )
        return done.stdout


def find_program(nucleus: Optional[str], root: Path) -> Optional[str]:
    """Which nucleus's command line is here: its kind; `nucleus` where that one is.

    Args:
        nucleus: `classic` or `lite` where it is said; None to look for the classic one first.
        root: of the classic nucleus, below which greengrass-cli lies.
    """
    return next((kind for kind in ([nucleus] if nucleus else _PROGRAMS) if _path(kind, root)), None)


def program(kind: str, root: Path) -> Program:
    """Raises DeploymentError where it is not here."""
    path = _path(kind, root)
    if path is None:
        raise DeploymentError(
            _PROGRAMS[kind],
            f"is neither on the PATH nor below {root}",
            "Deploy the component aws.greengrass.Cli, or run this on the core device.",
        )
    return Program(path)


def _path(kind: str, root: Path) -> Optional[str]:
    own = root / "bin" / _PROGRAMS[kind]
    return shutil.which(_PROGRAMS[kind]) or (str(own) if os.access(own, os.X_OK) else None)


def versions_for(settings: DeploymentSettings, installed: Dict[str, str], subject: str) -> Dict[str, str]:
    """The version of each component in the file; what it leaves open stays as it is.

    Raises:
        DeploymentError: left open, and the nucleus does not say that the component is there.
    """
    versions = {}
    for name, component in settings.components.items():
        version = component.version or installed.get(name)
        if version is None:
            raise DeploymentError(
                f"{subject}: components.{name}.version",
                "is missing, and this device does not say what it has",
                "Add it.",
            )
        versions[name] = version
    return versions


def local_differences(settings: DeploymentSettings, versions: Dict[str, str], installed: Dict[str, str]) -> List[str]:
    """What changes, a line each, as far as the nucleus tells what is there."""
    lines = []
    for name, version in sorted(versions.items()):
        before = installed.get(name)
        if before is None:
            lines.append(f"+ {name} {version}")
        elif before != version:
            lines.append(f"~ {name} {before} -> {version}")
        component = settings.components[name]
        words = [key for key in ("merge", "reset", "run_with") if getattr(component, key)]
        if words:
            lines.append(f"~ {name}: {', '.join(words)}")
    return [*lines, *(f"- {name} {installed.get(name, '')}".rstrip() for name in sorted(settings.remove))]


def left_out(settings: DeploymentSettings) -> List[str]:
    """Keys of the file that a local deployment does not know."""
    return [key for key in _CLOUD_ONLY if getattr(settings, key) is not None]


def first_match(pattern: str, text: str, subject: str, what: str) -> str:
    """Raises DeploymentError where the program says something else than is known of it."""
    match = re.search(pattern, text)
    if match is None:
        raise DeploymentError(subject, f"printed no {what}: {' '.join(text.split())[:200]!r}")
    return match.group(1)


def ended(status: str) -> Optional[bool]:
    """True: well; False: badly; None: not yet."""
    return True if status in _ENDED_WELL else False if status in _ENDED_BADLY else None


def run_with_options(settings: DeploymentSettings) -> Dict[str, Any]:
    """{component: RunWithSettings} of those that have some."""
    return {name: component.run_with for name, component in settings.components.items() if component.run_with}
