"""What a revision changes, line by line, for a person who is asked to agree."""

from __future__ import annotations

import json
from typing import Any, Iterator, List, Mapping, Tuple

from edge_agent.cameras.redact import redacted

_MERGE = "merge"


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> List[str]:
    """`+ path: value`, `- path: value` and `~ path: old -> new`, sorted by path; empty where nothing changes.

    A `merge`, which is JSON in a text, is compared by its values. Addresses are shown without the passwords in them.

    Args:
        before: a request as `request.carried_over` makes it.
        after: one as `request.revise` makes it.
    """
    old, new = dict(_flat("", before)), dict(_flat("", after))
    lines = []
    for path in sorted({*old, *new}):
        if path not in old:
            lines.append(f"+ {path}: {_shown(new[path])}")
        elif path not in new:
            lines.append(f"- {path}: {_shown(old[path])}")
        elif old[path] != new[path]:
            lines.append(f"~ {path}: {_shown(old[path])} -> {_shown(new[path])}")
    return lines


def kept(before: Mapping[str, Any], after: Mapping[str, Any]) -> List[str]:
    """Components that stay exactly as they are, with their versions."""
    old, new = before.get("components", {}), after.get("components", {})
    same = [name for name in sorted(new) if name in old and not differences(old[name], new[name])]
    return [f"{name} {new[name].get('componentVersion', '')}".strip() for name in same]


def _flat(path: str, value: Any) -> Iterator[Tuple[str, Any]]:
    if path.rsplit(".", maxsplit=1)[-1] == _MERGE and isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(f"{path}.{key}" if path else str(key), item)
    elif path:
        yield path, value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # the service has it so, whoever put it there


def _shown(value: Any) -> str:
    return redacted(json.dumps(value, ensure_ascii=False))
