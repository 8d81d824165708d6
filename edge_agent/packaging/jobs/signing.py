"""Signs the manifests of the packages that jobs make (edge_agent.model.trust has what that means)."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError
from edge_agent.model.trust import read_pem, require_cryptography


class SigningKey:
    """Who makes packages.

    Args:
        path: PEM of an unencrypted Ed25519 private key, as `openssl genpkey` writes it; nobody else may read it.

    Raises:
        ConfigError: it cannot be read, others may, or it is another kind of key.
        MissingExtraError: the library for it is not installed.
    """

    def __init__(self, path: Path) -> None:
        require_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        data = read_pem(path)
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"key {path}", "may be read by others", f"chmod 600 {path}")
        try:
            key: Any = load_pem_private_key(data, password=None)
        except Exception as error:  # the library raises ValueError, TypeError, and types of its own
            raise ConfigError(f"key {path}", "is no PEM of an unencrypted private key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(f"key {path}", "is no Ed25519 key", "Make one: openssl genpkey -algorithm ed25519")
        self._key = key

    def sign(self, manifest: bytes) -> bytes:
        """What goes into the file of the signature."""
        return base64.b64encode(self._key.sign(manifest)) + b"\n"
