"""How each nucleus lays a component out on the device and runs its scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

NOBODY = 65534


class Device:
    """A core device's file tree below a temporary directory, with the user that components run as.

    Args:
        root: the nucleus' root directory.
        layout: `classic` (artifacts unpacked, owner-read only), `lite-cloud` (unpacked) or `lite-local` (packed).
        path: PATH for the scripts; None: not set at all.
        unprivileged: run as nobody where the tests run as root.
    """

    def __init__(self, root: Path, layout: str, *, path: Optional[str] = None, unprivileged: bool = True) -> None:
        self.root = root
        self.layout = layout
        self._path = path
        self._as_nobody = unprivileged and os.geteuid() == 0

    def work(self, component: str) -> Path:
        return self.root / "work" / component

    def deploy(self, built: Path, recipe: Dict[str, Any]) -> None:
        """What a deployment leaves on the disk before the install step."""
        name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        artifacts = self.root / "packages/artifacts" / name / version
        unarchived = self.root / "packages/artifacts-unarchived" / name / version
        shutil.copytree(str(built / "artifacts" / name / version), str(artifacts))
        unarchived.mkdir(parents=True)
        if self.layout != "lite-local":
            for file in artifacts.glob("*.zip"):
                with zipfile.ZipFile(str(file)) as archive:
                    archive.extractall(str(unarchived / file.stem))
        self.work(name).mkdir(parents=True)
        if self._as_nobody:
            self._give_to_nobody(artifacts, unarchived, self.work(name))
        if self.layout == "classic":
            for path in [*artifacts.rglob("*"), *unarchived.rglob("*")]:
                path.chmod(0o550 if path.is_dir() else 0o440)

    def expand(self, text: str, recipe: Dict[str, Any]) -> str:
        """Replaces the variables as the nucleus does: nucleus lite ends paths with a slash."""
        name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        end = "" if self.layout == "classic" else "/"
        values = {
            "{artifacts:path}": f"{self.root}/packages/artifacts/{name}/{version}{end}",
            "{artifacts:decompressedPath}": f"{self.root}/packages/artifacts-unarchived/{name}/{version}{end}",
            "{work:path}": f"{self.work(name)}{end}",
        }
        for key, value in recipe["ComponentConfiguration"]["DefaultConfiguration"].items():
            values["{configuration:/%s}" % key] = str(value)
        for variable, value in values.items():
            text = text.replace(variable, value)
        return text

    def command(self, script: str, env: Optional[Dict[str, str]] = None) -> List[str]:
        """The script as a nucleus starts it: a shell, next to no environment, no network, an unprivileged user."""
        command = ["env", "-i", *(f"{key}={value}" for key, value in (env or {}).items())]
        if self._path is not None:
            command.append(f"PATH={self._path}")
        if _can(["unshare", "-n", "true"]):
            command = ["unshare", "-n", *command]
        if self._as_nobody:
            command += [_tool("setpriv"), "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
        return [*command, "/bin/sh", "-c", script]

    def run(
        self, script: str, recipe: Dict[str, Any], env: Optional[Dict[str, str]] = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(self.expand(script, recipe), env),
            cwd=str(self.work(recipe["ComponentName"])),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            timeout=300,
            check=False,
        )

    def _give_to_nobody(self, *trees: Path) -> None:
        for tree in trees:
            for path in [tree, *tree.rglob("*")]:
                os.chown(str(path), NOBODY, NOBODY)


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin:/bin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _can(command: List[str]) -> bool:
    try:
        return (
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
        )
    except OSError:
        return False
