"""The command line in this process: its output, and its exit code."""

from __future__ import annotations

import shutil
import tempfile
from typing import Callable, Iterator, NamedTuple

import pytest

from edge_agent.cli import main


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`command("models", "list")` is `edge-agent models list`."""
    # Rich folds tables to the terminal; here they are compared.
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["edge-agent", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def socket_path() -> Iterator[str]:
    """A path short enough for a socket wherever the tests' temporary directory lies."""
    directory = tempfile.mkdtemp(prefix="ea-")
    yield f"{directory}/agent.sock"
    shutil.rmtree(directory)
