"""Building the artifacts: what is carried for whom, and what is said when it cannot be had."""

from __future__ import annotations

import json
import os
import platform
import stat
import subprocess
import sys
import zipfile
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, Dict

import pytest

from edge_agent import __version__
from edge_agent.errors import RecipeError
from edge_agent.packaging.build import COMPONENTS, FURTHER_EXTRAS, with_extras, write_bundle
from edge_agent.packaging.wheels import Target, Wheel, download_dependencies, platforms, read_wheel

pytestmark = pytest.mark.timeout(900)


def _wheel(directory: Path, name: str, *requires: str) -> Wheel:
    """A wheel without content that needs something."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-1.0-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + "".join(
        f"Requires-Dist: {r}\n" for r in requires
    )
    with zipfile.ZipFile(str(path), "w") as archive:
        archive.writestr(f"{name}-1.0.dist-info/METADATA", metadata)
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return read_wheel(path)


def _manifest(built: Path, component: Any, machine: str) -> Dict[str, Any]:
    path = built / "artifacts" / component.name / __version__ / f"{component.file}-{machine}.zip"
    with zipfile.ZipFile(str(path)) as archive:
        manifest: Dict[str, Any] = json.loads(archive.read("bundle.json"))
        carried = {name for name in archive.namelist() if name.startswith("wheels/")}
    assert f"wheels/{manifest['pip']['file']}" in carried
    assert f"wheels/{manifest['project']['file']}" in carried
    return manifest


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.file)
def test_layout_that_both_clis_take(built: Path, component: Any) -> None:
    recipe = built / "recipes" / f"{component.name}-{__version__}.json"
    place = built / "artifacts" / component.name / __version__
    assert recipe.is_file()
    names = {
        uri["Uri"].rsplit("/", 1)[1] for m in json.loads(recipe.read_text())["Manifests"] for uri in m["Artifacts"]
    }
    assert {file.name for file in place.iterdir()} == names
    # nucleus lite's CLI copies with the mode that it finds, as root.
    for file in place.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert stat.S_IMODE(place.stat().st_mode) == 0o755


def test_each_component_carries_what_it_needs(built: Path, pythons: Dict[str, str]) -> None:
    inspector, server = (_manifest(built, component, platform.machine()) for component in COMPONENTS)
    assert set(inspector["pythons"]) == set(server["pythons"]) == set(pythons)
    assert (inspector["extras"], server["extras"]) == ("[metrics]", "[server,metrics,signing]")
    for python in pythons:
        names = {wheel["file"].split("-")[0] for wheel in inspector["pythons"][python]}
        assert {"edge_agent", "awsiotsdk", "grpcio", "numpy"} <= names
        assert not {"onnxruntime", "opencv_python_headless"} & names
        names = {wheel["file"].split("-")[0] for wheel in server["pythons"][python]}
        assert {"edge_agent", "onnxruntime", "opencv_python_headless"} <= names


def test_the_inspector_may_carry_more() -> None:
    inspector, server = (with_extras(component, ["aws", "mqtt"]) for component in COMPONENTS)
    assert inspector.extras == ("metrics", "aws", "mqtt")
    assert server == COMPONENTS[1]
    assert set(FURTHER_EXTRAS) < set(metadata("edge-agent").get_all("Provides-Extra") or ())


def test_machine_that_was_not_asked_for_carries_no_dependencies(built: Path) -> None:
    [other] = {"x86_64", "aarch64"} - {platform.machine()}
    for component in COMPONENTS:
        manifest = _manifest(built, component, other)
        assert manifest["pythons"] == {}
        assert manifest["machine"] == other


def test_markers_are_those_of_the_target(tmp_path: Path) -> None:
    project = _wheel(
        tmp_path / "project",
        "probe",
        "mdurl==0.1.2; python_version < '3.9' and platform_machine == 'aarch64'",
        "no-such-package-anywhere; python_version >= '3.9' or platform_machine != 'aarch64'",
    )
    wheels = download_dependencies(project, (), Target("3.8", "aarch64"), tmp_path / "wheels")
    assert [(wheel.name, wheel.version) for wheel in wheels] == [("mdurl", "0.1.2"), ("probe", "1.0")]


def test_wheel_that_a_target_has_not(tmp_path: Path) -> None:
    # The last awscrt with a wheel for CPython 3.8 on aarch64 is 0.33.0.
    project = _wheel(tmp_path / "project", "probe", "awscrt==0.36.1")
    with pytest.raises(RecipeError, match=r"wheels for Python 3.8 on aarch64: .*awscrt==0.36.1"):
        download_dependencies(project, (), Target("3.8", "aarch64"), tmp_path / "wheels")


def test_platforms_end_at_the_targets_glibc() -> None:
    assert platforms(Target("3.8", "aarch64"))[0] == "manylinux_2_27_aarch64"
    assert platforms(Target("3.11", "x86_64"))[0] == "manylinux_2_28_x86_64"
    assert "manylinux2014_aarch64" in platforms(Target("3.8", "aarch64"))
    assert "manylinux_2_5_x86_64" in platforms(Target("3.8", "x86_64"))


def test_equal_wheels_give_equal_bytes(tmp_path: Path) -> None:
    project, pip = _wheel(tmp_path, "edge_agent"), _wheel(tmp_path, "pip")
    for name in ("one.zip", "two.zip"):
        write_bundle(tmp_path / name, COMPONENTS[1], "x86_64", {"3.11": [project]}, project, pip)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_unknown_target_is_one_clear_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent.packaging", "--python", "3.7"],
        cwd=str(Path(__file__).resolve().parents[2]),
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        check=False,
    )
    assert done.returncode == 2
    assert "argument --python: invalid choice: '3.7'" in done.stderr
