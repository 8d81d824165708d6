"""The real libdlr.so of DLR 1.6.0: the last one on PyPI. Its Python package, which reports to its makers, stays out."""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

_WHEEL = "dlr-1.6.0-py2.py3-none-manylinux1_x86_64.whl"
_SHA256 = "cb9672db941537567005d6c5ea98a03ede8ca4c8f8c51db4fcfa49d83d3c75cf"
_MEMBER = "dlr-1.6.0.data/data/dlr/libdlr.so"
_TIMEOUT_S = 90


def real_runtime() -> bytes:
    """The library, kept in build/; the test is skipped where it is not to be had."""
    if platform.machine() != "x86_64":
        pytest.skip("there is no libdlr.so for this processor on PyPI")
    kept = CHECKOUT / "build" / "dlr-1.6.0" / "libdlr.so"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        _fetch(kept)
    return kept.read_bytes()


def _fetch(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        directory = Path(name)
        (directory / "requirements.txt").write_text(f"dlr==1.6.0 --hash=sha256:{_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--platform=manylinux1_x86_64", "--retries=1", "--timeout=15"]
        command += ["--require-hashes", "-r", "requirements.txt"]
        try:
            found = subprocess.run(
                command, cwd=directory, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            pytest.skip("pip does not fetch dlr 1.6.0 in time")
        if found.returncode:
            pytest.skip(f"pip cannot fetch dlr 1.6.0 here: {found.stderr.strip().splitlines()[-1:]}")
        with zipfile.ZipFile(directory / _WHEEL) as wheel:
            (directory / "libdlr.so").write_bytes(wheel.read(_MEMBER))
        (directory / "libdlr.so").replace(target)
