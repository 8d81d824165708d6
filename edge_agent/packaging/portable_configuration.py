"""Limits of a component's default configuration and of its accessControl, on both nuclei."""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Dict, List, NoReturn

# Measured on nucleus lite: bytes of JSON in one leaf (a list is one), keys in a map, depth, policies of one service.
MAX_LEAF_BYTES = 1024
MAX_KEYS = 99
MAX_DEPTH = 12
MAX_POLICY_BYTES = 4096

_SERVICES = re.compile(r"aws\.greengrass\.[A-Za-z.]+")
_OPERATION = re.compile(r"aws\.greengrass#[A-Za-z]+")

Refuse = Callable[[str, str, str], NoReturn]


def check_configuration(configuration: Any, refuse: Refuse) -> None:
    """Checks DefaultConfiguration; `refuse(path, reason, remedy)` is called with the first thing wrong."""
    path = "ComponentConfiguration.DefaultConfiguration"
    if not isinstance(configuration, dict):
        refuse(path, "is not a map", "")
    settings = {key: value for key, value in configuration.items() if key != "accessControl"}
    _check_values(path, settings, refuse, depth=1)
    _check_access(f"{path}.accessControl", configuration.get("accessControl", {}), refuse)


def pointer_value(configuration: Any, pointer: str) -> Any:
    """What a JSON pointer such as `/publish/topic` names in a map; None where there is nothing."""
    if not pointer.startswith("/"):
        return None
    for key in pointer[1:].split("/"):
        if not isinstance(configuration, dict) or key not in configuration:
            return None
        configuration = configuration[key]
    return configuration


def _check_values(path: str, value: Any, refuse: Refuse, depth: int) -> None:
    if isinstance(value, dict):
        if depth > MAX_DEPTH:
            refuse(path, f"is nested deeper than {MAX_DEPTH} maps", "")
        if len(value) > MAX_KEYS:
            refuse(path, f"has {len(value)} keys", f"nucleus lite hands out maps of at most {MAX_KEYS}")
        for key, entry in value.items():
            if not isinstance(key, str):
                refuse(f"{path}.{key}", "is not a text", "JSON knows no other keys")
            _check_values(f"{path}.{key}", entry, refuse, depth + 1)
        return
    if value is None or not isinstance(value, (str, int, float, bool, list)):
        refuse(path, f"{value!r} is not a text, number, boolean, list or map", "")
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > MAX_LEAF_BYTES:
        refuse(path, f"is {size} bytes of JSON", f"nucleus lite keeps at most {MAX_LEAF_BYTES} in one value")


def _check_access(path: str, access: Any, refuse: Refuse) -> None:
    for service, policies in _entries(path, access, refuse).items():
        here = f"{path}.{service}"
        if not _SERVICES.fullmatch(service):
            refuse(here, "is not the name of an IPC service", "")
        if len(json.dumps(policies).encode()) > MAX_POLICY_BYTES:
            refuse(here, "is too long", f"nucleus lite keeps at most {MAX_POLICY_BYTES} bytes of policies per service")
        for name, policy in _entries(here, policies, refuse).items():
            _check_policy(f"{here}.{name}", policy, refuse)


def _check_policy(path: str, policy: Any, refuse: Refuse) -> None:
    unknown = set(_entries(path, policy, refuse)) - {"policyDescription", "operations", "resources"}
    if unknown:
        refuse(f"{path}.{min(unknown)}", "is not a key of a policy", "Known: policyDescription, operations, resources")
    for operation in _texts(f"{path}.operations", policy.get("operations"), refuse):
        if not _OPERATION.fullmatch(operation):
            refuse(f"{path}.operations", f"{operation!r} is not one operation", "Name each; `*` gives away too much")
    for resource in _texts(f"{path}.resources", policy.get("resources"), refuse):
        plain = resource.replace("{iot:thingName}", "")
        if re.search(r"[?{}$]", plain):
            refuse(f"{path}.resources", f"{resource!r} has a character that only one nucleus understands", "")
        if not plain.strip("*#+/"):
            refuse(f"{path}.resources", f"{resource!r} allows everything", "Name what the component needs")


def _entries(path: str, value: Any, refuse: Refuse) -> Dict[str, Any]:
    if not isinstance(value, dict):
        refuse(path, "is not a map", "")
    return value


def _texts(path: str, value: Any, refuse: Refuse) -> List[str]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        refuse(path, "is not a list of texts", "")
    return value
