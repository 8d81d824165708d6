"""Nucleus lite's ggl-cli, as its source has it: `deploy`, which takes components and directories and nothing else.

Configuration goes into copies of the recipes. How a deployment ended, ggl-cli does not tell.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional

from edge_agent.clock import Clock
from edge_agent.deployment.local import Places, Program, first_match, run_with_options
from edge_agent.deployment.settings import DeploymentSettings
from edge_agent.errors import DeploymentError
from edge_agent.packaging.portable import MAX_RECIPE_BYTES
from edge_agent.packaging.recipe import read_recipe, to_json

#: The most that ggl-cli takes at a time (MAX_COMPONENTS in its source).
MAX_COMPONENTS = 10

_SUFFIXES = (".json", ".yaml", ".yml")
_JOURNAL = "journalctl -u ggl.core.ggdeploymentd.service"


class LiteCli:
    def __init__(self, program: Program) -> None:
        self._program = program

    def installed(self) -> Dict[str, str]:
        return {}  # ggl-cli does not tell

    def deploy(self, settings: DeploymentSettings, versions: Dict[str, str], places: Places) -> str:
        _check(settings)
        arguments: List[str] = []
        recipes = _configured_recipes(settings, versions, places.recipes)
        if recipes is not None:
            arguments += ["--recipe-dir", str(recipes.absolute())]
        if places.artifacts is not None:
            arguments += ["--artifacts-dir", str(places.artifacts.absolute())]
        for name, version in versions.items():
            arguments += ["--add-component", f"{name}={version}"]
        printed = self._program.run("deploy", *arguments)
        return first_match(r"Deployment id: *([^\s.]+)", printed, "ggl-cli deploy", "deployment id")

    def wait(self, deployment: str, timeout_s: float, clock: Clock) -> str:  # noqa: ARG002 - the interface
        return (
            f"local deployment {deployment}: nucleus lite has it, and does not tell its command line how it ends. See: "
            f"{_JOURNAL}"
        )


def _check(settings: DeploymentSettings) -> None:
    faults = {
        "remove": settings.remove,
        "run_with": run_with_options(settings),
        "reset": [name for name, component in settings.components.items() if component.reset],
    }
    for key, found in faults.items():
        if found:
            raise DeploymentError("ggl-cli", f"cannot do `{key}`", "Take it out of the file, or deploy from the cloud.")
    if not 1 <= len(settings.components) <= MAX_COMPONENTS:
        raise DeploymentError("ggl-cli", f"takes 1 to {MAX_COMPONENTS} components, not {len(settings.components)}")


def _configured_recipes(
    settings: DeploymentSettings, versions: Dict[str, str], recipes: Optional[Path]
) -> Optional[Path]:
    """The directory of recipes to hand over: a copy beside the given one, with each `merge` in its recipe's defaults.

    Beside it, because nucleus lite reads it later, as a user of its own that can read where the first one lies.
    """
    merged = {name: component.merge for name, component in settings.components.items() if component.merge}
    if not merged:
        return recipes
    if recipes is None:
        raise DeploymentError(
            "ggl-cli",
            "passes no configuration; it has to go into the recipes",
            "Name their directory by --recipes, or deploy from the cloud.",
        )
    copy = recipes.with_name(f"{recipes.name}-configured")
    try:
        shutil.rmtree(str(copy), ignore_errors=True)
        copy.mkdir(mode=0o755)
        copy.chmod(0o755)
        for file in sorted(recipes.iterdir()):
            if file.suffix in _SUFFIXES:
                shutil.copyfile(str(file), str(copy / file.name))
                (copy / file.name).chmod(0o644)
        for name, values in merged.items():
            _merge_into(copy, name, versions[name], values)
    except OSError as error:
        raise DeploymentError(str(copy), f"cannot be written ({error.strerror})") from error
    return copy


def _merge_into(directory: Path, name: str, version: str, values: Dict[str, Any]) -> None:
    found = [directory / f"{name}-{version}{suffix}" for suffix in _SUFFIXES]
    file = next((path for path in found if path.is_file()), None)
    if file is None:
        raise DeploymentError(str(directory), f"has no recipe {name}-{version}.json or .yaml", "Build it first.")
    recipe = read_recipe(file)
    configuration = recipe.setdefault("ComponentConfiguration", {})
    configuration["DefaultConfiguration"] = _merged(configuration.get("DefaultConfiguration") or {}, values)
    file.unlink()
    # JSON keeps the types; of a YAML recipe nucleus lite makes every value a text.
    target = directory / f"{name}-{version}.json"
    text = to_json(recipe)
    if len(text.encode()) >= MAX_RECIPE_BYTES:
        text = json.dumps(recipe, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) >= MAX_RECIPE_BYTES:
        raise DeploymentError(
            f"{name} {version}",
            f"has a recipe of {len(text.encode())} bytes with this configuration",
            f"nucleus lite reads fewer than {MAX_RECIPE_BYTES}.",
        )
    target.write_text(text, encoding="utf-8")
    target.chmod(0o644)


def _merged(before: Any, values: Any) -> Any:
    """As the nuclei merge: maps key by key, everything else replaced."""
    if not isinstance(before, dict) or not isinstance(values, dict):
        return values
    return {**before, **{key: _merged(before.get(key), value) for key, value in values.items()}}
