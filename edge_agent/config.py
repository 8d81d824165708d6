"""Reading configuration: files, component configuration, and errors that name the exact key.

Settings are frozen msgspec structs declared beside what they configure; agent/settings.py composes them. Scalars are
accepted as strings too: nucleus lite turns every scalar of a YAML recipe into one.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Mapping, Type, TypeVar

import msgspec
import yaml

from edge_agent.errors import ConfigError

T = TypeVar("T")

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]*)`")
_WHERE = re.compile(r" - at `\$(?P<path>[^`]*)`$")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every settings struct: immutable, unknown keys refused."""


def read_file(path: Path) -> Mapping[str, Any]:
    """The mapping in a YAML or JSON file.

    Raises:
        ConfigError: no such file, not readable, not YAML or JSON, or no mapping at its top.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError(str(path), f"cannot be read ({reason})", "Give the path of a YAML or JSON file.") from error
    try:
        # JSON first: YAML's parser is slower and its errors about JSON mislead.
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(str(path), f"is not valid ({_one_line(error)})", "Correct the file.") from error
    if not isinstance(data, dict):
        raise ConfigError(str(path), "has no mapping at its top", "Write `key: value` pairs.")
    return data


def convert(data: Any, kind: Type[T], subject: str, path: str = "") -> T:
    """`data` as the settings type `kind`.

    Args:
        data: what was read: mappings, lists and scalars; scalars may be strings.
        kind: a Settings struct.
        subject: the file or component the data came from.
        path: dotted key path of `data` in it.

    Raises:
        ConfigError: an unknown key, a missing one or a wrong type or value, with its exact path.
    """
    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _config_error(str(error), subject, path) from error


def join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _config_error(message: str, subject: str, path: str) -> ConfigError:
    where = _WHERE.search(message)
    if where:
        message = message[: where.start()]
        path = join(path, where.group("path").lstrip(".")) if where.group("path") else path
    unknown = _UNKNOWN.search(message)
    if unknown:
        return ConfigError(
            f"{subject}: {join(path, unknown.group('key'))}", "is not a known key", "Remove or rename it."
        )
    missing = _MISSING.search(message)
    if missing:
        return ConfigError(f"{subject}: {join(path, missing.group('key'))}", "is missing", "Add it.")
    reason = message[:1].lower() + message[1:]
    return ConfigError(f"{subject}: {path or 'top level'}", reason, "Correct the value.")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
