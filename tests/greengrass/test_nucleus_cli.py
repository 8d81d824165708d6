"""`edge-agent nucleus` and `edge-agent nucleus-control` as processes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys

import pytest
from greengrass_tools import lines, write_recipe
from support.waiting import until

from edge_agent.greengrass.ipc import IpcClient

# The command lines as the console script runs them, verbs that a test's checkout may not list included.
MAIN = "import sys; from edge_agent.cli.{module} import {verb} as verb; from edge_agent import cli; cli.cli = verb; cli.main()"


def _command(module, *arguments):
    return [sys.executable, "-c", MAIN.format(module=module, verb=module), *map(str, arguments)]


@pytest.fixture
def nucleus(tmp_path):
    """Start the command; every process is gone at the end."""
    processes = []

    def start(*arguments, token=None):
        environment = {name: value for name, value in os.environ.items() if name != "SVCUID"}
        if token:
            environment["SVCUID"] = token
        process = subprocess.Popen(
            _command("nucleus", "--socket", tmp_path / "ipc.socket", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def _exports(process):
    pairs = [process.stdout.readline().strip()[len("export ") :].split("=", 1) for _ in range(4)]
    return {name: shlex.split(value)[0] for name, value in pairs}


def _control(tmp_path, *arguments):
    command = _command("nucleus_control", "--socket", tmp_path / "ipc.socket", *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_whole_life(nucleus, tmp_path, monkeypatch):
    record = tmp_path / "record.jsonl"
    recipe = write_recipe(tmp_path / "recipe.json", {"a": 1})
    environment_file = tmp_path / "environment"
    process = nucleus(
        "--recipe", recipe, "--mode", "lite", "--record", record, "--thing", "Line 7", "--env-file", environment_file
    )
    exports = _exports(process)
    assert set(exports) == {
        "SVCUID",
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT",
        "AWS_IOT_THING_NAME",
        "AWS_REGION",
    }
    assert exports["AWS_IOT_THING_NAME"] == "Line 7"
    assert stat.S_IMODE(environment_file.stat().st_mode) == 0o600
    sourced = subprocess.run(
        ["/bin/sh", "-c", f". {shlex.quote(str(environment_file))}; echo $SVCUID,$AWS_IOT_THING_NAME"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sourced.stdout.strip() == f"{exports['SVCUID']},Line 7"

    for name, value in exports.items():
        monkeypatch.setenv(name, value)
    client = IpcClient.connect()
    client.publish_to_iot_core("t", b"1")
    assert [line["payload"] for line in lines(record)] == [1]

    process.send_signal(signal.SIGUSR1)
    assert json.loads(process.stderr.readline())["publishes"]["accepted"] == 1

    assert json.loads(_control(tmp_path, "configure", '{"a": 2}').stdout) == {"changed": [["a"]]}
    assert client.get_configuration(["a"]) == {"a": 2}
    restarted = json.loads(_control(tmp_path, "restart", "0", "--new-token").stdout)["environment"]
    assert restarted["SVCUID"] != exports["SVCUID"]
    assert f"SVCUID={restarted['SVCUID']}" in environment_file.read_text()
    assert _exports(process) == restarted
    client.close()

    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(errors)["publishes"]["accepted"] == 1
    assert not list(tmp_path.glob("ipc.socket*"))


def test_interrupt_ends_well(nucleus):
    process = nucleus()
    _exports(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_token_of_its_own_environment(nucleus):
    assert _exports(nucleus(token="MyOwnToken"))["SVCUID"] == "MyOwnToken"  # noqa: S106 - not a secret


def test_killed_process_leaves_every_acknowledged_publish(nucleus, tmp_path, monkeypatch):
    record = tmp_path / "record.jsonl"
    process = nucleus("--record", record)
    for name, value in _exports(process).items():
        monkeypatch.setenv(name, value)
    client = IpcClient.connect()
    for number in range(50):
        client.publish_to_iot_core("t", str(number).encode())
    process.kill()
    process.wait()
    client.close()
    assert [line["payload"] for line in lines(record)] == list(range(50))
    # The socket file is stale now, and the next one takes its place.
    assert (tmp_path / "ipc.socket").exists()
    _exports(nucleus("--record", record))


def test_second_nucleus_on_the_socket(nucleus):
    _exports(nucleus())
    second = nucleus()
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "is the socket of a running process" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--recipe", "/absent.yaml"], 1, "/absent.yaml: cannot be read"),
        (["--broker", "nonsense"], 2, "is not HOST:PORT"),
        (["--mode", "heavy"], 2, "heavy"),
        (["--record", "/absent/record"], 1, "cannot be opened for the record"),
    ],
)
def test_wrong_arguments(nucleus, arguments, code, text):
    process = nucleus(*arguments)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert text in errors
    assert "Traceback" not in errors


def test_control_commands(nucleus, tmp_path):
    _exports(nucleus())
    for arguments in (
        ["offline"],
        ["online"],
        ["slow", "0"],
        ["slow-acks", "never"],
        ["slow-acks", "0"],
        ["full"],
        ["refuse", "--error", "ConflictError", "--operation", "UpdateState"],
        ["delay-accept", "0"],
        ["forget-subscriptions"],
        ["reset"],
    ):
        done = _control(tmp_path, *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for arguments, expected in (
        (["publish", "t", "x"], {"delivered": 0}),
        (["publish-local", "t", "x"], {"delivered": 0}),
        (["component-update", "d1", "--restarting"], {"told": 0}),
        (["component-update-done", "d1"], {"told": 0}),
    ):
        assert json.loads(_control(tmp_path, *arguments).stdout) == expected
    assert json.loads(_control(tmp_path, "counters").stdout)["iot_core"]["online"] is True
    assert _control(tmp_path, "slow-acks", "soon").returncode == 2
    assert _control(tmp_path, "configure", "{").returncode == 2


def test_control_of_nobody(tmp_path):
    done = _control(tmp_path, "offline")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    until(lambda: not list(tmp_path.glob("ipc.socket*")))
