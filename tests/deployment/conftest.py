"""AWS on the loopback interface, and a nucleus's command line on the PATH."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, List

import boto3
import pytest
from cli.conftest import Done, command  # noqa: F401 - a fixture of tests here, too
from support.aws_loopback import Cloud, serve_cloud

from edge_agent.cli import deploy


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cloud]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(deploy, "_POLL_S", 0.02)
    with serve_cloud(monkeypatch) as served:
        yield served


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[], List[Any]]]:
    """Puts an executable on the PATH in the place of a nucleus's command line, which exists on core devices alone.

    `stand_in("greengrass-cli", {"component list": "..."})` writes a real program that keeps its arguments and prints
    what belongs to the first two; gives a function that reads the calls. An exit status goes with a text as a pair.
    """

    def place(name: str, answers: Any) -> Callable[[], List[Any]]:
        record = tmp_path / f"{name}.calls"
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"#!{sys.executable}\n"
            "import json, sys\n"
            f"with open({str(record)!r}, 'a') as file: file.write(json.dumps(sys.argv[1:]) + '\\n')\n"
            f"answers = {answers!r}\n"
            "found = answers.get(' '.join(sys.argv[1:3]), answers.get(sys.argv[1], ''))\n"
            "if isinstance(found, list):\n"
            f"    seen = sum(1 for _ in open({str(record)!r})) - 1\n"
            "    found = found[min(seen, len(found) - 1)]\n"
            "code, text = found if isinstance(found, tuple) else (0, found)\n"
            "print(text, file=sys.stderr if code else sys.stdout)\n"
            "sys.exit(code)\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent))

        def calls() -> List[Any]:
            import json

            return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []

        return calls

    return place
