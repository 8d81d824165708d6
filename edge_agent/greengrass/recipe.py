"""Component recipes as the nuclei read them: name, version, default configuration, access control.

Only the parts that a running component meets over IPC are read here; manifests and lifecycles are the nucleus's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Type, Union

import yaml

from edge_agent.errors import RecipeError
from edge_agent.greengrass.bounded_json import loads

ACCESS_CONTROL = "accessControl"

#: Nucleus lite: the largest recipe file, and the largest leaf of a configuration as JSON, in bytes.
LITE_RECIPE_BYTES = 8196
LITE_LEAF_BYTES = 1024
#: Nucleus lite: the most elements in one list of a configuration.
LITE_LIST_ITEMS = 188


class _ClassicLoader(yaml.SafeLoader):
    """safe_load, but dates stay the text they are: a configuration has JSON types only."""


_ClassicLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Recipe:
    """What a component's recipe says about its identity and its configuration.

    Attributes:
        path: the file it was read from.
        name: ComponentName.
        version: ComponentVersion.
        configuration: DefaultConfiguration as JSON values, `accessControl` included where the recipe has it.
    """

    path: Path
    name: str
    version: str
    configuration: Dict[str, Any] = field(default_factory=dict)

    @property
    def access_control(self) -> Dict[str, Any]:
        """{service: {policy id: {"operations": [...], "resources": [...]}}}; empty where the recipe has none."""
        found = find_key(self.configuration, ACCESS_CONTROL)
        return self.configuration[found] if found else {}


def read_recipe(path: Union[str, Path], *, lite: bool = False) -> Recipe:
    """Read a recipe in YAML or JSON.

    Args:
        path: the file; `.json` is read as JSON, everything else as YAML.
        lite: as nucleus lite reads it: keys in their documented case only, every YAML scalar a string, its size limits.
            Otherwise as the classic nucleus does: keys in any case, values with their types.

    Raises:
        RecipeError: the subject names the file and the key path.
    """
    file = Path(path)
    text = _read_text(file, lite=lite)
    reader = _Reader(file, lite=lite)
    recipe = reader.mapping(_parse(file, text, lite=lite), "")
    configuration = reader.optional_mapping(
        reader.optional_mapping(recipe, "ComponentConfiguration", ""), "DefaultConfiguration", "ComponentConfiguration"
    )
    where = "ComponentConfiguration.DefaultConfiguration"
    reader.check_access_control(configuration, where)
    if lite:
        reader.check_lite_sizes(configuration, where)
    return Recipe(file, reader.text(recipe, "ComponentName"), reader.text(recipe, "ComponentVersion"), configuration)


def find_key(values: Mapping[str, Any], name: str, *, exact: bool = False) -> Optional[str]:
    """The key of `values` that is `name`, in any case unless `exact`; None where there is none."""
    if name in values:
        return name
    if exact:
        return None
    return next((key for key in values if key.lower() == name.lower()), None)


def _read_text(file: Path, *, lite: bool) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise RecipeError(str(file), f"cannot be read: {error.strerror}") from error
    if lite and len(data) > LITE_RECIPE_BYTES:
        reason = f"has {len(data)} bytes; nucleus lite reads recipes of at most {LITE_RECIPE_BYTES}"
        raise RecipeError(str(file), reason, "Shorten the recipe")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RecipeError(str(file), "is not UTF-8 text") from error


def _parse(file: Path, text: str, *, lite: bool) -> Any:
    try:
        if file.suffix.lower() == ".json":
            return loads(text)
        # BaseLoader keeps every scalar as the text in the file, which is what nucleus lite does with YAML.
        loader: Type[Union[yaml.BaseLoader, yaml.SafeLoader]] = yaml.BaseLoader if lite else _ClassicLoader
        return yaml.load(text, Loader=loader)  # noqa: S506 - both loaders build plain values only
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(str(file), f"is not YAML{line}: {error.problem}") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise RecipeError(str(file), f"is neither YAML nor JSON: {error}") from error


class _Reader:
    def __init__(self, file: Path, *, lite: bool) -> None:
        self._file = file
        self._lite = lite

    def fail(self, path: str, reason: str) -> RecipeError:
        return RecipeError(f"{self._file}: {path}" if path else str(self._file), reason)

    def mapping(self, value: Any, path: str) -> Dict[str, Any]:
        """A map with text keys, all the way down."""
        if not isinstance(value, dict):
            raise self.fail(path, f"must be a map, not {_kind(value)}")
        return {str(key): self._plain(item, _join(path, str(key))) for key, item in value.items()}

    def optional_mapping(self, parent: Mapping[str, Any], name: str, path: str) -> Dict[str, Any]:
        key = find_key(parent, name, exact=self._lite)
        # An empty YAML value is null to the classic nucleus and an empty string to nucleus lite.
        if key is None or parent[key] in (None, ""):
            return {}
        return self.mapping(parent[key], _join(path, name))

    def text(self, recipe: Mapping[str, Any], name: str) -> str:
        key = find_key(recipe, name, exact=self._lite)
        value = None if key is None else recipe[key]
        if not isinstance(value, str) or not value:
            raise self.fail(name, "is missing" if value is None else "must be a text that is not empty")
        return value

    def _plain(self, value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return self.mapping(value, path)
        if isinstance(value, list):
            return [self._plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
        if value is None or isinstance(value, (str, bool, int, float)):
            return value
        raise self.fail(path, f"holds {_kind(value)}, which JSON does not have")

    def check_access_control(self, configuration: Mapping[str, Any], where: str) -> None:
        key = find_key(configuration, ACCESS_CONTROL, exact=self._lite)
        if key is None:
            return
        path = _join(where, key)
        for service, policies in self.mapping(configuration[key], path).items():
            for policy, body in self.mapping(policies, _join(path, service)).items():
                place = _join(_join(path, service), policy)
                self._check_policy(self.mapping(body, place), place)

    def _check_policy(self, policy: Mapping[str, Any], path: str) -> None:
        for name in ("operations", "resources"):
            key = find_key(policy, name, exact=self._lite)
            values = None if key is None else policy[key]
            if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
                raise self.fail(_join(path, name), "must be a list of texts")
            if self._lite and name == "resources":
                self._check_question_marks(values, _join(path, name))

    def _check_question_marks(self, resources: List[str], path: str) -> None:
        for index, resource in enumerate(resources):
            if "?" in resource.replace("${?}", ""):
                raise self.fail(f"{path}[{index}]", "holds a bare ?, which makes a deployment on nucleus lite fail")

    def check_lite_sizes(self, value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                self.check_lite_sizes(item, _join(path, key))
            return
        problem = lite_leaf_problem(value)
        if problem:
            raise self.fail(path, problem)


def lite_leaf_problem(value: Any) -> Optional[str]:
    """Why nucleus lite cannot store this configuration leaf (a scalar or a list), in one clause; None when it can."""
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
    if size > LITE_LEAF_BYTES:
        return f"has {size} bytes as JSON; nucleus lite stores at most {LITE_LEAF_BYTES}"
    if isinstance(value, list) and len(value) > LITE_LIST_ITEMS:
        return f"has {len(value)} elements; nucleus lite stores at most {LITE_LIST_ITEMS}"
    return None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _kind(value: Any) -> str:
    names = {dict: "a map", list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return "nothing" if value is None else names.get(type(value), f"a {type(value).__name__}")
