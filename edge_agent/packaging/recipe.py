"""Reading a component recipe and writing its JSON form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Dict, List

import yaml

from edge_agent.errors import RecipeError

if TYPE_CHECKING:
    from pathlib import Path

# The bucket that the recipes in the tree name; `scripts/build_components --bucket` replaces it.
PLACEHOLDER = "s3://BUCKET/"


def read_recipe(path: Path) -> Dict[str, Any]:
    """Reads a recipe in YAML or JSON (which is YAML too).

    Raises:
        RecipeError: unreadable, not YAML, a key given twice, or not a map.
    """
    try:
        recipe = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise RecipeError(str(path), f"cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(str(path), f"is not YAML: {reason}") from error
    if not isinstance(recipe, dict):
        raise RecipeError(str(path), "is not a map of recipe keys")
    return recipe


def with_bucket(recipe: Dict[str, Any], bucket: str, prefix: str = "") -> Dict[str, Any]:
    """A copy of the recipe whose artifacts lie in this S3 bucket, below `prefix` where one is given."""
    place = "/".join(part for part in (bucket, prefix.strip("/")) if part)
    copy: Dict[str, Any] = json.loads(json.dumps(recipe))
    for artifact in artifacts(copy):
        artifact["Uri"] = artifact["Uri"].replace(PLACEHOLDER, f"s3://{place}/", 1)
    return copy


def artifacts(recipe: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The artifact entries of all manifests, as they stand in the recipe."""
    return [artifact for manifest in recipe["Manifests"] for artifact in manifest["Artifacts"]]


def to_json(recipe: Dict[str, Any]) -> str:
    """The JSON form: keys in the recipe's order, two spaces of indentation, a newline at the end."""
    return json.dumps(recipe, indent=2, ensure_ascii=False) + "\n"


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key given twice: YAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Dict[Any, Any]:  # noqa: FBT001, FBT002 - yaml's signature
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key given twice: {', '.join(twice)}", node.start_mark)
        return super().construct_mapping(node, deep=deep)
