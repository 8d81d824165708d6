"""Where the packaging of this user keeps its state, unless told otherwise (XDG base directories)."""

from __future__ import annotations

import os
from pathlib import Path

from edge_agent.errors import ConfigError


def default_state() -> Path:
    """$XDG_STATE_HOME/edge-agent/packaging, by default ~/.local/state/edge-agent/packaging."""
    return _base("XDG_STATE_HOME", "~/.local/state") / "edge-agent" / "packaging"


def default_registry() -> Path:
    """$XDG_DATA_HOME/edge-agent/models, by default ~/.local/share/edge-agent/models."""
    return _base("XDG_DATA_HOME", "~/.local/share") / "edge-agent" / "models"


def _base(variable: str, default: str) -> Path:
    path = Path(os.environ.get(variable, ""))
    if path.is_absolute():  # the standard: a relative one counts as none
        return path
    try:
        return Path(default).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            variable, "is not set, and this user has no home", "Set it, or give the directory."
        ) from error
