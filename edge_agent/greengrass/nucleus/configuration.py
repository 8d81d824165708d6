"""The configuration of the component: values, when each was last changed, and what a merge changes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from edge_agent.greengrass.nucleus.limits import Limits
from edge_agent.greengrass.nucleus.state import NOT_FOUND, SERVICE_ERROR, OperationError
from edge_agent.greengrass.recipe import find_key, lite_leaf_problem

# Both nuclei date a recipe's defaults at the beginning of time, so that every later update is newer.
_DEFAULTS_MS = 1


@dataclass
class _Leaf:
    value: Any
    changed_ms: int


_Map = Dict[str, Any]  # of _Leaf and _Map
_Node = Union[_Leaf, _Map]


@dataclass
class Merge:
    """What a merge did: key paths of the leaves that changed, and whether a leaf was newer than the update."""

    changed: List[List[str]] = field(default_factory=list)
    stale: bool = False


class Configuration:
    """Values of one component. Leaves are scalars and lists; maps are merged, leaves replaced.

    Args:
        defaults: the recipe's DefaultConfiguration.
        limits: of the nucleus that is imitated.
    """

    def __init__(self, defaults: Mapping[str, Any], limits: Limits) -> None:
        self._limits = limits
        self._root: _Map = {}
        self.merge([], defaults, _DEFAULTS_MS)

    def get(self, path: Sequence[str]) -> Dict[str, Any]:
        """A map's content, or a leaf wrapped in its own key.

        Raises:
            OperationError: ResourceNotFoundError where there is no such key; ServiceError on nucleus lite for a map
                with too many keys.
        """
        node, name = self._find(path)
        if isinstance(node, _Leaf):
            return {name: node.value}
        self._check_keys(node)
        value: Dict[str, Any] = _plain(node)
        return value

    def contains(self, path: Sequence[str]) -> bool:
        try:
            self._find(path)
        except OperationError:
            return False
        return True

    def merge(self, path: Sequence[str], value: Any, timestamp_ms: int) -> Merge:
        """Merge a value at a key path; nothing changes when it fails.

        Raises:
            OperationError: ServiceError where nucleus lite cannot store the value.
        """
        root = copy.deepcopy(self._root)
        merge = Merge()
        if not path:
            if not isinstance(value, Mapping):
                raise OperationError(SERVICE_ERROR, "Only a map can be merged into the whole configuration")
            self._merge_map(root, value, [], timestamp_ms, merge)
        else:
            parent, names = self._open(root, path[:-1])
            self._merge_value(parent, path[-1], value, names, timestamp_ms, merge)
        self._root = root
        return merge

    def _find(self, path: Sequence[str]) -> Tuple[_Node, str]:
        node: _Node = self._root
        name = ""
        for key in path:
            found = self._key(node, key) if isinstance(node, dict) else None
            if found is None:
                raise OperationError(NOT_FOUND, "Key not found")
            assert isinstance(node, dict)  # noqa: S101 - the line above; tells the type checker
            node, name = node[found], found
        return node, name

    def _key(self, node: _Map, key: str) -> Optional[str]:
        return find_key(node, key, exact=self._limits.lite)

    def _check_keys(self, node: _Map) -> None:
        most = self._limits.map_keys
        if most is not None and len(node) > most:
            raise OperationError(SERVICE_ERROR, "Failed to read the configuration")
        for child in node.values():
            if isinstance(child, dict):
                self._check_keys(child)

    def _open(self, node: _Map, path: Sequence[str]) -> Tuple[_Map, List[str]]:
        """The map at `path`, made where it is missing, and its names as they are stored."""
        names: List[str] = []
        for key in path:
            found = self._key(node, key) or key
            child = node.get(found)
            if not isinstance(child, dict):
                self._refuse_change_of_kind(child)
                child = node[found] = {}
            names.append(found)
            node = child
        return node, names

    def _merge_map(self, node: _Map, value: Mapping[str, Any], path: List[str], at_ms: int, merge: Merge) -> None:
        for key, item in value.items():
            self._merge_value(node, key, item, path, at_ms, merge)

    def _merge_value(self, node: _Map, key: str, value: Any, path: List[str], at_ms: int, merge: Merge) -> None:
        name = self._key(node, key) or key
        old = node.get(name)
        if isinstance(old, _Leaf) and at_ms < old.changed_ms:
            merge.stale = True
        elif isinstance(value, Mapping):
            if not isinstance(old, dict):
                self._refuse_change_of_kind(old)
                node[name] = {}
            self._merge_map(node[name], value, [*path, name], at_ms, merge)
        else:
            if isinstance(old, dict):
                self._refuse_change_of_kind(old)
            self._check_leaf(value)
            node[name] = _Leaf(copy.deepcopy(value), at_ms)
            if not (isinstance(old, _Leaf) and _same(old.value, value)):
                merge.changed.append([*path, name])

    def _check_leaf(self, value: Any) -> None:
        problem = lite_leaf_problem(value) if self._limits.lite else None
        if problem:
            raise OperationError(SERVICE_ERROR, f"Failed to update the configuration: a value {problem}")

    def _refuse_change_of_kind(self, old: Optional[_Node]) -> None:
        if self._limits.lite and old is not None:
            raise OperationError(SERVICE_ERROR, "Failed to update the configuration: a map and a value do not mix")


def _plain(node: _Node) -> Any:
    if isinstance(node, _Leaf):
        return copy.deepcopy(node.value)
    return {key: _plain(child) for key, child in node.items()}


def _same(one: Any, other: Any) -> bool:
    # 1, 1.0 and true are equal in Python and three values in JSON.
    return bool(one == other) and repr(one) == repr(other)
