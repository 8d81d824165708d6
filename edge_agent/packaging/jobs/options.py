"""A request from the options of a command line, as the AWS CLI takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional
from urllib.parse import unquote

import msgspec

from edge_agent.errors import ValidationError

_FILE = "file://"
_MAX_BYTES = 1024 * 1024


def build_request(cli_input: Optional[str], configuration: Optional[str], members: Dict[str, Any]) -> Dict[str, Any]:
    """The request's members: those of `--cli-input-json`, and over them the options that are given.

    Args:
        cli_input: JSON, or `file://PATH` of it.
        configuration: the member Configuration, likewise.
        members: other options; None for those that are not given.

    Raises:
        ValidationError: no JSON structure, or no such file.
    """
    request = _structure("--cli-input-json", cli_input) if cli_input is not None else {}
    if configuration is not None:
        request["Configuration"] = _structure("--configuration", configuration)
    request.update({name: value for name, value in members.items() if value is not None})
    return request


def _structure(option: str, value: str) -> Dict[str, Any]:
    try:
        return msgspec.json.decode(_text(option, value), type=Dict[str, Any])
    except msgspec.ValidationError as error:
        raise ValidationError(option, "is no JSON structure, {...}") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValidationError(option, f"is not JSON ({error})", "Give JSON, or file://PATH of it.") from error


def _text(option: str, value: str) -> bytes:
    if not value.startswith(_FILE):
        return value.encode()
    path = Path(unquote(value[len(_FILE) :])).expanduser()
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValidationError(f"{option} {value}", f"cannot be read ({error})") from error
    if len(data) > _MAX_BYTES:
        raise ValidationError(f"{option} {value}", f"is longer than {_MAX_BYTES} bytes")
    return data
