"""Models that Greengrass deployments bring, and models that start unasked, while the server runs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest
from server.conftest import Client
from support.packages import make_package

from edge_agent.errors import ServerError
from edge_agent.server import ModelServer
from edge_agent.server.artifacts import precedence
from edge_agent.wire import edge_agent_pb2 as wire

RED = np.zeros((96, 128, 3), dtype=np.uint8)
RED[..., 0] = 230

# The order that semver.org gives, with more of our own.
ORDERED = [
    *("0.9.10", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11"),
    *("1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0", "10.0.0"),
]


def test_versions_have_the_order_of_semver() -> None:
    shuffled = random.Random(3).sample(ORDERED, len(ORDERED))
    assert sorted(shuffled, key=lambda version: precedence(version) or ()) == ORDERED
    assert precedence("1.0.0+build.5") == precedence("1.0.0")
    for no_version in ("1.0", "v1.0.0", "latest", "1.0.0.0", "", "1.0.0-"):
        assert precedence(no_version) is None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a nucleus, with a component that is no model."""
    root = tmp_path / "greengrass"
    other = root / "packages/artifacts-unarchived/aws.example.Web/1.0.0/site"
    other.mkdir(parents=True)
    (other / "manifest.json").write_text('{"name": "a web application"}')
    (other.parent / "list").mkdir()
    (other.parent / "list" / "manifest.json").write_text("[1, 2]")
    return root


def deploy(root: Path, component: str, version: str, place: str = "model_zip", **package: Any) -> Path:
    """What a deployment leaves; AWS's packages say no version of themselves."""
    directory = root / "packages/artifacts-unarchived" / component / version / place
    directory.parent.mkdir(parents=True, exist_ok=True)
    return make_package(directory, **{"version": None, **package})


@pytest.fixture
def serve(root: Path, models: Path, socket_path: str) -> Iterator[Callable[..., Client]]:
    ends: Any = []

    def start(**options: Any) -> Client:
        server = ModelServer(options.pop("models", models), socket_path, greengrass=root, **options)
        server.start()
        client = Client(socket_path)
        ends.extend([client.close, lambda: server.stop(5)])
        client.look = server._watch.look  # type: ignore[attr-defined] # what the sweeper does every five seconds
        return client

    yield start
    for end in ends:
        end()


def arns(client: Client) -> Any:
    return {model.model_component: model.lookout_vision_model_arn.split(":model/")[1] for model in client.models()}


@pytest.mark.parametrize("place", ["", "model_zip", "model_zip/top", "a/b/c"])
def test_a_component_is_found_wherever_its_zip_has_the_manifest(root: Path, serve: Any, place: str) -> None:
    path = root / "packages/artifacts-unarchived/gears/1.0.0" / place
    path.parent.mkdir(parents=True)
    make_package(path, version=None)
    client = serve(models=None)
    assert arns(client) == {"gears": "gears/1.0.0"}
    client.start_and_wait("gears")
    assert client.detect("gears", RED).is_anomalous


def test_not_deeper(root: Path, serve: Any) -> None:
    path = root / "packages/artifacts-unarchived/gears/1.0.0/a/b/c/d"
    path.parent.mkdir(parents=True)
    make_package(path)
    assert arns(serve(models=None)) == {}


def test_new_updated_and_removed_components_are_noticed(root: Path, serve: Any, refused: Any) -> None:
    client = serve()
    assert arns(client) == {"bolts": "bolts/2.0.0"}
    deploy(root, "gears", "9.0.0", threshold=1.0)  # a threshold that red does not reach
    assert arns(client) == {"bolts": "bolts/2.0.0", "gears": "gears/9.0.0"}
    client.start_and_wait("gears")
    assert client.detect("gears", RED).anomaly_threshold == 1.0
    newer = deploy(root, "gears", "10.0.0", top={"package": {"version": "10.0.0-ours"}})
    (root / "packages/artifacts-unarchived/gears/11.0.0").mkdir()  # still on its way
    (root / "packages/artifacts-unarchived/gears/latest").mkdir()  # no version
    shutil.copytree(str(newer), str(root / "packages/artifacts-unarchived/gears/latest/model_zip"))
    assert arns(client)["gears"] == "gears/9.0.0"  # what runs
    client.stop("gears")
    assert arns(client)["gears"] == "gears/10.0.0-ours"
    client.start_and_wait("gears")
    assert client.detect("gears", RED).anomaly_threshold == 0.5
    assert arns(client)["gears"] == "gears/10.0.0-ours"
    shutil.rmtree(root / "packages/artifacts-unarchived/gears")
    assert client.detect("gears", RED).is_anomalous
    assert arns(client)["gears"] == "gears/10.0.0-ours"
    client.stop("gears")
    assert arns(client) == {"bolts": "bolts/2.0.0"}
    with refused("NOT_FOUND"):
        client.start("gears")


def test_the_directory_goes_before_greengrass(root: Path, serve: Any) -> None:
    deploy(root, "bolts", "7.0.0")
    assert arns(serve()) == {"bolts": "bolts/2.0.0"}


def test_a_torn_manifest_is_listed_and_failed_with_its_reason(root: Path, serve: Any) -> None:
    path = deploy(root, "gears", "1.0.0")
    client = serve()
    (path / "manifest.json").write_text('{"model_graph": {')
    assert arns(client)["gears"] == "gears/1.0.0"
    assert "is not valid JSON" in client.start_and_wait("gears", wire.FAILED).status_message


def test_a_root_without_components_serves_none_and_no_root_is_an_error(tmp_path: Path, socket_path: str) -> None:
    server = ModelServer(None, socket_path, greengrass=tmp_path)
    server.start()
    client = Client(socket_path)
    assert list(client.models()) == []
    client.close()
    server.stop(1)
    with pytest.raises(ServerError, match="is no root of a nucleus"):
        ModelServer(None, socket_path, greengrass=tmp_path / "none").start()
    with pytest.raises(ValueError, match="directory of models or the root"):
        ModelServer(None, socket_path)


AUTOSTART = {"top": {"package": {"autostart": True}}}


def test_what_asks_to_be_started_is(models: Path, root: Path, serve: Any) -> None:
    make_package(models / "keen", **AUTOSTART)
    deploy(root, "gears", "1.0.0", **AUTOSTART)
    deploy(root, "named", "1.0.0")
    client = serve(autostart=["named"])
    for name in ("keen", "gears", "named"):
        client.wait(name, wire.RUNNING)
    assert client.describe("bolts").status == wire.STOPPED


def test_stop_holds_until_a_new_version_comes(root: Path, serve: Any) -> None:
    deploy(root, "gears", "1.0.0", **AUTOSTART)
    client = serve()
    client.wait("gears", wire.RUNNING)
    client.stop("gears")
    client.look()
    client.look()
    assert client.describe("gears").status == wire.STOPPED
    deploy(root, "gears", "1.0.1", **AUTOSTART)
    client.look()
    client.look()
    assert client.wait("gears", wire.RUNNING).lookout_vision_model_arn.endswith("gears/1.0.1")


def test_a_package_that_still_grows_is_waited_for(root: Path, serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = serve(autostart=["gears"])
    assert "gears: to be started, but not deployed" in caplog.text
    path = deploy(root, "gears", "1.0.0")
    network = (path / "mochi" / "model.onnx").read_bytes()
    for size in (10, 20, len(network)):
        (path / "mochi" / "model.onnx").write_bytes(network[:size])
        client.look()
        assert client.describe("gears").status == wire.STOPPED
    client.look()
    client.wait("gears", wire.RUNNING)


def test_one_that_fails_is_tried_again_when_it_is_mended_and_not_before(models: Path, serve: Any) -> None:
    path = make_package(models / "keen", top={"package": {"autostart": True}, "runtime": "unheard-of"})
    client = serve()
    assert "unheard-of" in client.wait("keen", wire.FAILED).status_message
    client.look()
    assert client.describe("keen").status == wire.FAILED
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "runtime": "onnx"}))
    client.look()
    client.look()
    client.wait("keen", wire.RUNNING)


def test_the_server_notices_by_itself(root: Path, socket_path: str) -> None:
    """The process with its settings from the environment, as a component has them; one wait of its five seconds."""
    environment = {
        **os.environ,
        "EDGE_AGENT_MODELS": "",
        "EDGE_AGENT_GREENGRASS": str(root),
        "EDGE_AGENT_AUTOSTART": "gears nuts",
        "EDGE_AGENT_SOCKET": socket_path,
    }
    command = [sys.executable, "-m", "edge_agent", "serve", "--threads", "1"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"serving 0 models" in process.stderr.readline()
        deploy(root, "gears", "1.0.0")
        client = Client(socket_path)
        deadline = time.monotonic() + 60
        while client.describe("gears").status != wire.RUNNING:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        client.close()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
