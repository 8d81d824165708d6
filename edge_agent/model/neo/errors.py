"""Why a compiled model is not for our own loader."""

from __future__ import annotations

from edge_agent.errors import EngineError


class BeyondLoaderError(EngineError):
    """Sound as far as it is known, but for Neo's own runtime: a GPU, its virtual machine, functions from outside."""
