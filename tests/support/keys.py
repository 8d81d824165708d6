"""Key pairs for tests of signed packages, made as the documentation says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def openssl(*arguments: str) -> None:
    """Raises subprocess.CalledProcessError where it is not content."""
    program = shutil.which("openssl")
    assert program, "openssl is a package that scripts/test installs"
    subprocess.run([program, *arguments], check=True, capture_output=True)


def make_key_pair(directory: Path, name: str) -> Path:
    """Gives the private key, NAME.pem; the public one lies beside it as NAME.pub."""
    private = directory / f"{name}.pem"
    openssl("genpkey", "-algorithm", "ed25519", "-out", str(private))
    openssl("pkey", "-in", str(private), "-pubout", "-out", str(directory / f"{name}.pub"))
    return private
