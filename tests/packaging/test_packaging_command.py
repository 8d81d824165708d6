"""`edge-agent packaging` as a user types it, and the AWS CLI of the service's last days against `packaging serve`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from support.packaging import PROJECT, make_registry, recipe_of, start_request

from edge_agent.cli import main
from edge_agent.packaging.jobs.job import CREATED, RUNNING
from edge_agent.packaging.jobs.store import JobStore

_STATE = "state-home/edge-agent/packaging"
_AWS = [sys.executable, "-m", "awscli", "lookoutvision"]


def _environment(directory: Path, **more: str) -> Dict[str, str]:
    """Without this user's own AWS settings, and with state, models and buckets in a directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "EDGE_AGENT_"))}
    return {
        **kept,
        "HOME": str(directory),
        "XDG_STATE_HOME": str(directory / "state-home"),
        "XDG_DATA_HOME": str(directory / "data-home"),
        "EDGE_AGENT_BUCKETS": (directory / "buckets").as_uri(),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        **more,
    }


def _run(command: List[str], environment: Dict[str, str]) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=environment)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def _packaging(*arguments: str) -> List[str]:
    return [sys.executable, "-m", "edge_agent", "packaging", *arguments]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    make_registry(tmp_path / "data-home" / "edge-agent" / "models")
    return tmp_path


def _start_options(**greengrass: Any) -> List[str]:
    configuration = json.dumps(start_request(**greengrass)["Configuration"])
    return ["--project-name", PROJECT, "--model-version", "1", "--configuration", configuration]


class Here:
    """The command line in this process: what its `main` prints and how it exits."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        for name, value in _environment(directory).items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str) -> Tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["edge-agent", "packaging", *arguments])
        code = 0
        try:
            main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        return (code, *self._capsys.readouterr())


@pytest.fixture
def here(directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(directory, capsys, monkeypatch)


def test_start_describe_and_list_with_the_service_s_own_options(here: Here, directory: Path) -> None:
    code, said, complaint = here("start", *_start_options(), "--job-name", "one", "--description", "first")
    assert (code, json.loads(said), complaint) == (0, {"JobName": "one"}, "")
    assert recipe_of(directory)["ComponentName"] == "com.example.Bolts"
    assert (directory / _STATE / "jobs.sqlite3").is_file()

    details = json.loads(here("describe", "--project-name", PROJECT, "--job-name", "one")[1])[
        "ModelPackagingDescription"
    ]
    assert (details["Status"], details["ModelPackagingJobDescription"]) == ("SUCCEEDED", "first")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", details["CreationTimestamp"])
    listed = json.loads(here("list", "--project-name", PROJECT, "--max-results", "1")[1])
    assert [entry["JobName"] for entry in listed["ModelPackagingJobs"]] == ["one"]


def test_a_job_that_fails_is_the_command_s_failure(here: Here, directory: Path) -> None:
    (directory / "data-home/edge-agent/models" / PROJECT / "1/model/mochi/model.onnx").write_bytes(b"torn")
    code, said, complaint = here("start", *_start_options(), "--job-name", "one")
    assert (code, json.loads(said)) == (1, {"JobName": "one"})
    assert "job one: FAILED: " in complaint
    assert len(complaint.splitlines()) == 1


def test_a_job_optimizes_unless_it_is_told_not_to(here: Here, directory: Path) -> None:
    here("start", *_start_options(), "--job-name", "one")
    here("start", *_start_options(ComponentName="other"), "--job-name", "two", "--optimize", "none")
    said = [here("describe", "--project-name", PROJECT, "--job-name", name)[1] for name in ("one", "two")]
    assert ["Network: fp32, pixels in." in answer for answer in said] == [True, False]


def test_a_whole_request_comes_from_json_or_a_file_and_options_go_before_it(here: Here, directory: Path) -> None:
    file = directory / "a request.json"
    file.write_text(json.dumps({**start_request(), "JobName": "from-file"}))
    command = ("start", "--no-wait", "--cli-input-json", f"file://{file}")
    assert json.loads(here(*command)[1]) == {"JobName": "from-file"}
    other = _start_options(ComponentVersion="1.0.1")[-2:]
    assert json.loads(here(*command, "--job-name", "from-option", *other)[1]) == {"JobName": "from-option"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["start"], 1, "error: ProjectName: is missing"),
        (["start", "--cli-input-json", "[1]"], 1, "--cli-input-json: is no JSON structure"),
        (["start", "--cli-input-json", "file:///nowhere"], 1, "--cli-input-json file:///nowhere: cannot be read"),
        (["start", *_start_options(), "--model-version", "7"], 1, "(ResourceNotFoundException)"),
        (["start", *_start_options(ComponentName="a b")], 1, "(ValidationException)"),
        (["start", *_start_options(), "--buckets", "ftp://x"], 2, "buckets ftp://x: is neither 's3' nor"),
        (["describe", "--project-name", PROJECT, "--job-name", "none"], 1, "(ResourceNotFoundException)"),
        (["list", "--project-name", PROJECT, "--next-token", "x"], 1, "NextToken: is none"),
        (["serve", "--host", "192.168.0.1"], 2, "is no loopback address"),
        (["start", *_start_options(), "--register"], 2, "is nowhere that Greengrass could register a component from"),
        (["start", *_start_options(), "--sign-with", "/none.pem"], 2, "key /none.pem: cannot be read"),
    ],
)
def test_what_goes_wrong_is_one_line(arguments: List[str], code: int, said: str, here: Here) -> None:
    found, _, complaint = here(*arguments)
    assert found == code
    assert said in complaint
    assert len(complaint.splitlines()) == 1


def test_the_skeleton_is_the_aws_cli_s(here: Here, directory: Path) -> None:
    environment = _environment(directory, AWS_DEFAULT_REGION="eu-central-1")
    command = [*_AWS, "start-model-packaging-job", *_start_options(), "--generate-cli-skeleton"]
    theirs = json.loads(_run(command, environment).stdout)
    assert _shape(json.loads(here("start", "--generate-cli-skeleton")[1])) == _shape(theirs)


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shape(entry) for name, entry in value.items()}
    return [_shape(entry) for entry in value] if isinstance(value, list) else type(value)


@pytest.fixture
def served(directory: Path) -> Iterator[Tuple[str, Dict[str, str]]]:
    """`packaging serve` as a process: its endpoint, and the environment of its clients."""
    environment = _environment(directory, EDGE_AGENT_LOG_LEVEL="error")
    process = subprocess.Popen(
        _packaging("serve", "--port", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    endpoint = process.stdout.readline().split()[1]
    credentials = process.stdout.readline().split(maxsplit=1)[1].strip()
    try:
        yield (
            endpoint,
            {**environment, "AWS_SHARED_CREDENTIALS_FILE": credentials, "AWS_DEFAULT_REGION": "eu-central-1"},
        )
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")


def test_the_aws_cli_starts_describes_and_lists_jobs(served: Tuple[str, Dict[str, str]], directory: Path) -> None:
    endpoint, environment = served
    aws = [*_AWS, "--endpoint-url", endpoint]
    started = _run([*aws, "start-model-packaging-job", *_start_options(), "--job-name", "cli"], environment)
    assert (started.returncode, json.loads(started.stdout)) == (0, {"JobName": "cli"}), started.stderr
    asked = ["--project-name", PROJECT, "--job-name", "cli"]
    store = JobStore(directory / _STATE)
    while store.unfinished(CREATED) or store.unfinished(RUNNING):
        time.sleep(0.1)
    described = json.loads(_run([*aws, "describe-model-packaging-job", *asked], environment).stdout)
    assert described["ModelPackagingDescription"]["Status"] == "SUCCEEDED", described
    listed = _run([*aws, "list-model-packaging-jobs", "--project-name", PROJECT], environment)
    assert [entry["JobName"] for entry in json.loads(listed.stdout)["ModelPackagingJobs"]] == ["cli"]
    refused = _run([*aws, "start-model-packaging-job", *_start_options(), "--job-name", "cli"], environment)
    assert "An error occurred (ConflictException)" in refused.stderr
    # The same through our own command: --engine aws asks whom boto3 is told to ask.
    own = {**environment, "AWS_ENDPOINT_URL_LOOKOUTVISION": endpoint}
    again = _run(_packaging("start", "--engine", "aws", *_start_options(), "--job-name", "cli"), own)
    assert (again.returncode, "(ConflictException)" in again.stderr) == (1, True), again.stderr
