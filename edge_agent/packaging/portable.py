"""The subset of the recipe format that Greengrass nucleus and nucleus lite have in common.

A recipe outside it may deploy on one nucleus and fail on the other, or fail later and less clearly; docs/deploy.md
lists what was seen. `check_recipe` refuses it with the file and the key path.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Iterable, NoReturn, Optional

from edge_agent.errors import RecipeError
from edge_agent.packaging.portable_configuration import check_configuration, pointer_value
from edge_agent.packaging.recipe import read_recipe, to_json

# nucleus lite reads a recipe into a buffer of this size.
MAX_RECIPE_BYTES = 8192
_ARCHITECTURES = ("amd64", "aarch64", "arm", "x86", "riscv64", "*")
_SEMVER = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"
_PATH_VARIABLES = ("artifacts:path", "artifacts:decompressedPath", "work:path", "kernel:rootPath", "iot:thingName")


def read_portable_recipe(path: Path) -> Dict[str, Any]:
    """A recipe's file that both nuclei take, as it is and in the JSON form that a cloud deployment brings.

    Raises:
        RecipeError: the first thing wrong, with file and key path.
    """
    recipe = read_recipe(path)
    check_recipe(recipe, str(path), path.stat().st_size)
    check_recipe(recipe, f"{path} as JSON", len(to_json(recipe).encode()))
    return recipe


def check_recipe(recipe: Dict[str, Any], file: str, size: Optional[int] = None) -> None:
    """Checks a recipe against everything that both nuclei take.

    Args:
        recipe: as read from YAML or JSON.
        file: its name, for messages.
        size: bytes of the file; checked against nucleus lite's limit where given.

    Raises:
        RecipeError: the first thing wrong, with file and key path.
    """
    _Checker(recipe, file).check(size)


class _Checker:
    def __init__(self, recipe: Dict[str, Any], file: str) -> None:
        self._recipe = recipe
        self._file = file

    def check(self, size: Optional[int]) -> None:
        if size is not None and size >= MAX_RECIPE_BYTES:
            self._refuse("", f"is {size} bytes long", f"nucleus lite reads fewer than {MAX_RECIPE_BYTES}")
        top = self._keys(
            "",
            self._recipe,
            required=("RecipeFormatVersion", "ComponentName", "ComponentVersion", "Manifests"),
            optional=(
                "ComponentDescription",
                "ComponentPublisher",
                "ComponentType",
                "ComponentConfiguration",
                "ComponentDependencies",
            ),
        )
        self._one_of("RecipeFormatVersion", top["RecipeFormatVersion"], ("2020-01-25",))
        self._matches("ComponentName", top["ComponentName"], r"[a-zA-Z0-9\-_.]{1,128}")
        self._matches("ComponentVersion", top["ComponentVersion"], _SEMVER)
        self._one_of("ComponentType", top.get("ComponentType", "aws.greengrass.generic"), ("aws.greengrass.generic",))
        for key in ("ComponentDescription", "ComponentPublisher"):
            self._matches(key, top.get(key, ""), r"[^\n]*")
        self._dependencies(top.get("ComponentDependencies", {}))
        configuration = self._keys(
            "ComponentConfiguration", top.get("ComponentConfiguration", {}), optional=("DefaultConfiguration",)
        )
        check_configuration(configuration.get("DefaultConfiguration", {}), self._refuse)
        self._manifests(top["Manifests"])

    # -- parts of the recipe

    def _dependencies(self, dependencies: Any) -> None:
        for name, entry in self._map("ComponentDependencies", dependencies).items():
            path = f"ComponentDependencies.{name}"
            self._keys(path, entry, required=("VersionRequirement",), optional=("DependencyType",))
            self._matches(f"{path}.VersionRequirement", entry["VersionRequirement"], r".+")
            self._one_of(f"{path}.DependencyType", entry.get("DependencyType", "HARD"), ("HARD", "SOFT"))

    def _manifests(self, manifests: Any) -> None:
        if not isinstance(manifests, list) or not manifests:
            self._refuse("Manifests", "is not a list of at least one manifest")
        for number, manifest in enumerate(manifests):
            path = f"Manifests[{number}]"
            # Without the key Artifacts a cloud deployment fails on nucleus lite.
            self._keys(path, manifest, required=("Platform", "Lifecycle", "Artifacts"), optional=("Name",))
            platform = self._keys(
                f"{path}.Platform", manifest["Platform"], required=("os", "runtime"), optional=("architecture",)
            )
            self._one_of(f"{path}.Platform.os", platform["os"], ("linux",))
            self._one_of(f"{path}.Platform.runtime", platform["runtime"], ("*",))
            self._one_of(f"{path}.Platform.architecture", platform.get("architecture", "*"), _ARCHITECTURES)
            files = self._artifacts(f"{path}.Artifacts", manifest["Artifacts"])
            self._lifecycle(f"{path}.Lifecycle", manifest["Lifecycle"], files)

    def _artifacts(self, path: str, artifacts: Any) -> Dict[str, str]:
        """File name of each artifact: its Unarchive."""
        if not isinstance(artifacts, list):
            self._refuse(path, "is not a list")
        files: Dict[str, str] = {}
        for number, artifact in enumerate(artifacts):
            here = f"{path}[{number}]"
            self._keys(here, artifact, required=("Uri",), optional=("Unarchive", "Permission"))
            uri, unarchive = artifact["Uri"], artifact.get("Unarchive", "NONE")
            self._matches(f"{here}.Uri", uri, r"s3://[^/{}\s]+(/[^/{}\s]+)+")
            self._one_of(f"{here}.Unarchive", unarchive, ("NONE", "ZIP"))
            for right, who in self._map(f"{here}.Permission", artifact.get("Permission", {})).items():
                self._one_of(f"{here}.Permission", right, ("Read", "Execute"))
                self._one_of(f"{here}.Permission.{right}", who, ("NONE", "OWNER", "ALL"))
            name = uri.rsplit("/", 1)[1]
            if name in files:
                self._refuse(
                    f"{here}.Uri", f"names {name} a second time", "Artifacts of a manifest share one directory"
                )
            if unarchive == "ZIP" and not re.fullmatch(r"[^.]+\.zip", name):
                self._refuse(
                    f"{here}.Uri", f"{name} is not NAME.zip without other dots", "The nuclei name its directory unlike"
                )
            files[name] = unarchive
        return files

    def _lifecycle(self, path: str, lifecycle: Any, files: Dict[str, str]) -> None:
        steps = self._keys(path, lifecycle, required=("run",), optional=("install", "Setenv"))
        self._setenv(f"{path}.Setenv", steps.get("Setenv", {}))
        for name in [name for name in ("install", "run") if name in steps]:
            here, step = f"{path}.{name}", steps[name]
            if isinstance(step, str):
                step = {"Script": step}
            # On nucleus lite a run step's Timeout limits its start and stop; the classic nucleus kills the run.
            optional = ("Setenv", "Timeout") if name == "install" else ("Setenv",)
            self._keys(here, step, required=("Script",), optional=optional)
            self._script(f"{here}.Script", step["Script"], files)
            self._setenv(f"{here}.Setenv", step.get("Setenv", {}))
            timeout = step.get("Timeout", 1)
            if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 1:
                self._refuse(f"{here}.Timeout", "is not a number of seconds")

    def _script(self, path: str, script: Any, files: Dict[str, str]) -> None:
        self._matches(path, script, r"[^\n]+")
        unknown = re.sub("|".join(r"\{%s\}" % variable for variable in _PATH_VARIABLES), "", script)
        if re.search(r"[{}]", unknown):
            self._refuse(
                path, "has braces around something that is no path variable", "nucleus lite cuts the script there"
            )
        used = re.findall(r"\{artifacts:(path|decompressedPath)\}/([^/\"'\s]+)", script)
        for variable, name in used:
            known = name in files if variable == "path" else files.get(f"{name}.zip") == "ZIP"
            if not known:
                self._refuse(path, f"{{artifacts:{variable}}}/{name} is no artifact of this manifest")

    def _setenv(self, path: str, setenv: Any) -> None:
        for key, value in self._map(path, setenv).items():
            self._matches(path, key, r"[A-Za-z_][A-Za-z0-9_]*")
            self._matches(f"{path}.{key}", value, r"[^\n]*")
            for variable in re.findall(r"\{([^}]*)\}?", value):
                if variable.startswith("configuration:"):
                    self._pointer(f"{path}.{key}", variable.split(":", 1)[1])
                elif variable not in _PATH_VARIABLES:
                    self._refuse(f"{path}.{key}", f"{{{variable}}} is no variable that both nuclei know")

    def _pointer(self, path: str, pointer: str) -> None:
        configuration = self._recipe.get("ComponentConfiguration", {}).get("DefaultConfiguration", {})
        value = pointer_value(configuration, pointer)
        if not isinstance(value, (str, int)):
            self._refuse(
                path, f"{pointer} is no text or whole number of DefaultConfiguration", "nucleus lite needs one there"
            )

    # -- forms

    def _keys(
        self, path: str, value: Any, required: Iterable[str] = (), optional: Iterable[str] = ()
    ) -> Dict[str, Any]:
        found = self._map(path, value)
        dot = f"{path}." if path else ""
        for key in required:
            if key not in found:
                self._refuse(f"{dot}{key}", "is missing")
        known = (*required, *optional)
        for key in found:
            if key not in known:
                self._refuse(f"{dot}{key}", "is not a key that both nuclei take here", f"Known: {', '.join(known)}")
        return found

    def _map(self, path: str, value: Any) -> Dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            self._refuse(path, "is not a map")
        return value

    def _one_of(self, path: str, value: Any, choices: Iterable[str]) -> None:
        if value not in choices or not isinstance(value, str):
            self._refuse(path, f"is {value!r}", f"Both nuclei take: {', '.join(choices)}")

    def _matches(self, path: str, value: Any, pattern: str) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            self._refuse(path, f"{value!r} is not a text of the form {pattern}")

    def _refuse(self, path: str, reason: str, remedy: str = "") -> NoReturn:
        raise RecipeError(f"{self._file}, {path}" if path else self._file, reason, remedy)
