"""Builds the Greengrass components: recipes in JSON and their artifacts, laid out for local and cloud deployments.

OUT/recipes/<component>-<version>.json
OUT/artifacts/<component>/<version>/install.py
OUT/artifacts/<component>/<version>/<name>-<machine>.zip     bundle.json, wheels/
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Sequence, Tuple

from edge_agent import __version__
from edge_agent.errors import RecipeError
from edge_agent.packaging.portable import read_portable_recipe
from edge_agent.packaging.recipe import PLACEHOLDER, artifacts, to_json, with_bucket
from edge_agent.packaging.wheels import MACHINES, Target, Wheel, build_project, download_dependencies, download_pip

#: Of the inspector, for parts of a line that not every line has.
FURTHER_EXTRAS = ("aws", "genicam", "gpio", "mqtt", "opcua", "v4l2", "video")

INSTALLER = Path(__file__).with_name("install.py")


class Component(NamedTuple):
    """A component of this project: what its recipe and zips are called, and the extras it installs."""

    name: str
    file: str
    extras: Tuple[str, ...]


COMPONENTS = (
    Component("com.edgeagent.Inspector", "inspector", ("metrics",)),
    Component("com.edgeagent.ModelServer", "model-server", ("server", "metrics", "signing")),
)


def with_extras(component: Component, extras: Sequence[str]) -> Component:
    """The same; if it is the inspector, with these extras, too."""
    return component._replace(extras=(*component.extras, *extras)) if component == COMPONENTS[0] else component


def build(
    source: Path,
    out: Path,
    targets: Sequence[Target],
    *,
    bucket: str = "",
    prefix: str = "",
    components: Sequence[Component] = COMPONENTS,
    recipe_name: str = "{component}-{version}.json",
    report: Callable[[str], None] = lambda _line: None,
) -> None:
    """Builds components into `out`, replacing what an earlier build of the same version left there.

    Args:
        source: the checkout: recipes and sources.
        out: directory for `recipes/` and `artifacts/`.
        targets: where no network shall be needed. A device of another kind installs from the package index.
        bucket: S3 bucket that the recipes name; empty leaves the placeholder, which local deployments do not read.
        prefix: path in the bucket above `<component>/<version>/`.
        components: what to build.
        recipe_name: file name of a recipe, of which the Greengrass Development Kit has one of its own. Always JSON, which
            is YAML too.
        report: called with one line for each file written.

    Raises:
        RecipeError: a recipe that one of the nuclei would refuse, or a target without a complete set of wheels.
    """
    recipes = {component: load(source, component) for component in components}
    with tempfile.TemporaryDirectory(prefix="edge-agent-build-") as temporary:
        work = Path(temporary)
        project, pip = build_project(source, work), download_pip(work)
        for component, recipe in recipes.items():
            place = out / "artifacts" / component.name / __version__
            shutil.rmtree(str(place), ignore_errors=True)
            _make_directory(out, place)
            _write(place / "install.py", INSTALLER.read_bytes(), report)
            for machine in MACHINES:
                sets = {
                    target.python: download_dependencies(
                        project, component.extras, target, work / component.file / "-".join(target)
                    )
                    for target in targets
                    if target.machine == machine
                }
                zip_file = place / f"{component.file}-{machine}.zip"
                write_bundle(zip_file, component, machine, sets, project, pip)
                carried = ", ".join(sets) or "no Python: installs from the package index"
                report(f"{zip_file} {zip_file.stat().st_size / 1e6:.1f} MB, wheels for {carried}")
            path = out / "recipes" / recipe_name.format(component=component.name, version=__version__)
            _make_directory(out, path.parent)
            _write(path, to_json(with_bucket(recipe, bucket, prefix) if bucket else recipe).encode(), report)


def load(source: Path, component: Component) -> Dict[str, Any]:
    """A component's recipe, checked: its form, its version and the artifacts it names.

    Raises:
        RecipeError: with the file and the key path.
    """
    path = source / "recipe" / f"{component.file}.yaml"
    recipe = read_portable_recipe(path)
    for key, expected in (("ComponentName", component.name), ("ComponentVersion", __version__)):
        if recipe[key] != expected:
            raise RecipeError(f"{path}, {key}", f"is {recipe[key]}", f"The package says {expected}")
    place = f"{PLACEHOLDER}{component.name}/{__version__}/"
    known = {place + name for name in ["install.py", *(f"{component.file}-{machine}.zip" for machine in MACHINES)]}
    for artifact in artifacts(recipe):
        if artifact["Uri"] not in known:
            raise RecipeError(
                f"{path}, Uri", f"{artifact['Uri']} is not built", f"Built are: {', '.join(sorted(known))}"
            )
    return recipe


def write_bundle(
    path: Path, component: Component, machine: str, sets: Dict[str, List[Wheel]], project: Wheel, pip: Wheel
) -> None:
    """Writes a zip that install.py installs from; equal input gives equal bytes.

    Args:
        path: the zip.
        component: whose it is.
        machine: of the device ("aarch64").
        sets: Python version: everything that is installed there.
        project: the project's own wheel.
        pip: the pip that installs.
    """
    manifest = {
        "component": component.name,
        "version": __version__,
        "machine": machine,
        "extras": f"[{','.join(component.extras)}]" if component.extras else "",
        "project": _file(project),
        "pip": _file(pip),
        "pythons": {python: [_file(wheel) for wheel in wheels] for python, wheels in sets.items()},
    }
    files = {wheel.path.name: wheel.path for wheels in [[project, pip], *sets.values()] for wheel in wheels}
    with zipfile.ZipFile(str(path), "w") as archive:
        _add(archive, "bundle.json", json.dumps(manifest, indent=1).encode())
        for name in sorted(files):
            _add(archive, f"wheels/{name}", files[name].read_bytes())
    path.chmod(0o644)


def machines_and_pythons(pythons: Iterable[str], machines: Iterable[str]) -> List[Target]:
    return [Target(python, machine) for machine in machines for python in pythons]


def _file(wheel: Wheel) -> Dict[str, str]:
    return {"file": wheel.path.name, "sha256": wheel.sha256}


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Stored: wheels are compressed already. A fixed time, so that the same wheels give the same zip.
    entry = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _write(path: Path, content: bytes, report: Callable[[str], None]) -> None:
    path.write_bytes(content)
    # nucleus lite copies these files with their mode, and the component's user must be able to read them.
    path.chmod(0o644)
    report(str(path))


def _make_directory(out: Path, path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for directory in (path, *path.parents):
        if directory == out:
            return
        directory.chmod(0o755)
