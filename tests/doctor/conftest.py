"""Users as numbers, and a directory that others than its owner may reach."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Iterator

import pytest
from cli.conftest import command, socket_path  # noqa: F401 - fixtures of tests here, too

from edge_agent.doctor.account import Account


@pytest.fixture
def place() -> Iterator[Path]:
    """Not below pytest's own directory, which is closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="ea-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def me() -> Account:
    return Account("me", os.geteuid(), frozenset({os.getegid()}))


@pytest.fixture
def stranger() -> Account:
    """A user that owns nothing and is in no group of ours."""
    return Account("stranger", 54321, frozenset({54321}))
