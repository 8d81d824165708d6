"""A server that trusts a key serves what is signed with it, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from server.conftest import Client
from support.keys import make_key_pair
from support.packages import make_package
from support.packaging import artifact_of, make_registry, run_job

from edge_agent.wire import edge_agent_pb2 as wire


def _add(models: Path, scratch: Path, name: str, private: Path) -> None:
    make_registry(scratch / name / "registry")
    run_job(scratch / name, {"sign_with": str(private)})
    with zipfile.ZipFile(artifact_of(scratch / name)) as archive:
        archive.extractall(models / name)


def test_only_what_is_signed_with_the_key_is_served(tmp_path: Path, socket_path: str) -> None:
    """The process with its setting from the environment, as the component has it."""
    models = tmp_path / "models"
    ours, theirs = make_key_pair(tmp_path, "ours"), make_key_pair(tmp_path, "theirs")
    for name, key in (("ours", ours), ("changed", ours), ("theirs", theirs)):
        _add(models, tmp_path, name, key)
    network = models / "changed" / "mochi" / "model.onnx"
    network.write_bytes(network.read_bytes() + b" ")
    make_package(models / "unsigned")
    environment = {**os.environ, "EDGE_AGENT_TRUSTED_KEY": str(tmp_path / "ours.pub")}
    command = [sys.executable, "-m", "edge_agent", "serve", "--models", str(models), "--socket", socket_path]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"serving 4 models" in process.stderr.readline()
        client = Client(socket_path)
        client.start_and_wait("ours")
        assert client.detect("ours", np.full((64, 64, 3), 128, dtype=np.uint8)).confidence > 0.9
        said = {
            name: client.start_and_wait(name, wire.FAILED).status_message for name in ("changed", "theirs", "unsigned")
        }
        client.close()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert "has another file mochi/model.onnx than its manifest says" in said["changed"]
    assert "is not signed with the key that is trusted here" in said["theirs"]
    assert "is not signed, and only signed packages are served here" in said["unsigned"]


def test_a_key_that_is_none_ends_the_command_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("none")
    command = [
        sys.executable,
        "-m",
        "edge_agent",
        "serve",
        "--models",
        str(tmp_path),
        "--trusted-key",
        str(tmp_path / "key"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "key: is no PEM of a public key" in done.stderr
    assert len(done.stderr.splitlines()) == 1
