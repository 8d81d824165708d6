"""Whose packages are served: a signature of the manifest, which lists the package's files (seal.py).

It is Ed25519 (RFC 8032) over the bytes of manifest.json, in base64, in the file manifest.sig beside it.
"""

from __future__ import annotations

import base64
import binascii
import warnings
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError, MissingExtraError, PackageError
from edge_agent.model.package import ModelPackage
from edge_agent.model.seal import SIGNATURE

_MAX_KEY_BYTES = 64 * 1024
_MAX_SIGNATURE_BYTES = 1024
_REMEDY = "Have it made by a packaging job with --sign-with and the key that belongs to this one."


class PublicKey:
    """Whose packages are trusted.

    Args:
        path: PEM of an Ed25519 public key, as `openssl pkey -pubout` writes it.

    Raises:
        ConfigError: it cannot be read, or is another kind of key.
        MissingExtraError: the library for it is not installed.
    """

    def __init__(self, path: Path) -> None:
        require_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        data = read_pem(path)
        try:
            key: Any = load_pem_public_key(data)
        except Exception as error:  # the library raises ValueError, TypeError, and types of its own
            raise ConfigError(f"key {path}", "is no PEM of a public key") from error
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigError(f"key {path}", "is no Ed25519 key")
        self._key = key

    def check(self, package: ModelPackage) -> None:
        """Hold a package's manifest against its signature; that the files are the manifest's, `load_model` sees.

        Raises:
            PackageError: not signed with this key, or its manifest lists no files.
        """
        from cryptography.exceptions import InvalidSignature

        subject = str(package.path)
        if not (package.directory / SIGNATURE).is_file():
            raise PackageError(subject, "is not signed, and only signed packages are served here", _REMEDY)
        try:
            with package.file(SIGNATURE).open("rb") as file:
                signature = base64.b64decode(file.read(_MAX_SIGNATURE_BYTES).strip(), validate=True)
            self._key.verify(signature, package.manifest_bytes)
        except (InvalidSignature, binascii.Error, OSError) as error:
            raise PackageError(subject, "is not signed with the key that is trusted here", _REMEDY) from error
        if package.manifest.package.files is None:
            raise PackageError(
                subject, "is signed, but its manifest lists no files, so that says nothing of them", _REMEDY
            )


def require_cryptography() -> None:
    """Raises MissingExtraError where the library is not installed."""
    try:
        with warnings.catch_warnings():
            # On Python 3.8 it says at each start that its next release will not be for that; pip knows.
            warnings.simplefilter("ignore", UserWarning)
            import cryptography  # noqa: F401 - importing it first is the point
    except ImportError as error:
        raise MissingExtraError("cryptography", "signing") from error


def read_pem(path: Path) -> bytes:
    """Of a key's file; ConfigError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise ConfigError(f"key {path}", f"cannot be read ({error.strerror})") from error
