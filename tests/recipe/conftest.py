from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _version(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, universal_newlines=True, check=False)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def pythons() -> Dict[str, str]:
    """Version: directory of an interpreter; the running one's, the system's, and those that pyenv has of 3.8."""
    found: Dict[str, str] = {}
    old = sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python3"))
    for file in ["/usr/bin/python3", f"{sys.base_prefix}/bin/python3", *map(str, old)]:
        version = _version(file) if Path(file).exists() else ""
        if version in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13"):
            found.setdefault(version, str(Path(file).parent))
    return found


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, pythons: Dict[str, str]) -> Path:
    """What scripts/build_components builds for this machine and all of `pythons`."""
    out = tmp_path_factory.mktemp("greengrass")
    command: List[str] = [str(ROOT / "scripts/build_components"), "--out", str(out), "--arch", platform.machine()]
    done = subprocess.run(
        [*command, "--python", *pythons],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return out


@pytest.fixture(scope="session")
def inspector(built: Path) -> Dict[str, Any]:
    return _recipe(built, "com.edgeagent.Inspector")


@pytest.fixture(scope="session")
def model_server(built: Path) -> Dict[str, Any]:
    return _recipe(built, "com.edgeagent.ModelServer")


def _recipe(built: Path, component: str) -> Dict[str, Any]:
    """The recipe as built."""
    [path] = (built / "recipes").glob(f"{component}-*.json")
    recipe: Dict[str, Any] = json.loads(path.read_text())
    return recipe
