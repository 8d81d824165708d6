"""Start, stop, describe and list: states, codes and messages (contract sections 1.3 and 1.4)."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server.conftest import Client
from support.packages import make_package, zip_package

from edge_agent.model import OnnxOptions
from edge_agent.server import ModelServer
from edge_agent.wire import edge_agent_pb2 as wire

GREY = np.full((96, 128, 3), 128, dtype=np.uint8)


def test_a_deployed_model_is_stopped_and_goes_through_its_states(client: Any, refused: Any) -> None:
    described = client.describe("bolts")
    assert (described.status, described.status_message) == (wire.STOPPED, "")
    assert described.lookout_vision_model_arn == "arn:aws:lookoutvision:::model/bolts/2.0.0"
    with refused("FAILED_PRECONDITION", "STOPPED"):
        client.detect("bolts", GREY)
    with refused("FAILED_PRECONDITION", "bolts: StopModel needs it RUNNING; its state is STOPPED"):
        client.stop("bolts")
    client.start_and_wait("bolts")
    with refused("FAILED_PRECONDITION", "bolts: StartModel needs it STOPPED or FAILED; its state is RUNNING"):
        client.start("bolts")
    assert not client.detect("bolts", GREY).is_anomalous
    assert client.stop("bolts") == wire.STOPPED
    assert client.describe("bolts").status == wire.STOPPED
    client.start_and_wait("bolts")


@pytest.mark.parametrize("call", ["describe", "start", "stop"])
def test_names(client: Any, refused: Any, call: str) -> None:
    with refused("INVALID_ARGUMENT", "model_component"):
        getattr(client, call)("")
    for name in ("nuts", "../models/bolts", "/etc", "bolts/mochi", "bolts\n"):
        with refused("NOT_FOUND", "no model component of this name"):
            getattr(client, call)(name)


def test_list_finds_directories_and_zips_as_they_come(models: Path, client: Any) -> None:
    assert [m.model_component for m in client.models()] == ["bolts"]
    source = make_package(
        models.parent / "gears", top={"package": {"model_arn": "arn:aws:lookoutvision:x:y:model/g/7"}}
    )
    zip_package(source, models / "gears.zip", top="inside")
    zip_package(source, models / "bolts.zip")  # the directory goes before it
    (models / ".hidden").mkdir()
    shutil.copy(source / "manifest.json", models / ".hidden")
    (models / "empty").mkdir()
    (models / "notes.txt").write_text("no model")
    client.start_and_wait("gears")
    listed = {m.model_component: m for m in client.models()}
    assert list(listed) == ["bolts", "gears"]
    assert listed["gears"].lookout_vision_model_arn == "arn:aws:lookoutvision:x:y:model/g/7"
    assert (listed["gears"].status, listed["bolts"].status) == (wire.RUNNING, wire.STOPPED)


def test_a_model_without_a_version_has_version_0_in_its_arn(models: Path, client: Any) -> None:
    make_package(models / "plain", version=None)
    assert client.describe("plain").lookout_vision_model_arn == "arn:aws:lookoutvision:::model/plain/0"


def test_a_removed_package_serves_on_until_it_is_stopped(models: Path, client: Any, refused: Any) -> None:
    client.start_and_wait("bolts")
    shutil.rmtree(models / "bolts")
    assert not client.detect("bolts", GREY).is_anomalous
    assert [m.model_component for m in client.models()] == ["bolts"]
    assert client.describe("bolts").lookout_vision_model_arn == "arn:aws:lookoutvision:::model/bolts/2.0.0"
    client.stop("bolts")
    assert list(client.models()) == []
    with refused("NOT_FOUND"):
        client.start("bolts")


def test_a_broken_package_is_listed_fails_with_its_reason_and_can_be_started_when_mended(
    models: Path, client: Any, refused: Any
) -> None:
    path = models / "bolts" / "manifest.json"
    whole = path.read_text()
    broken = json.loads(whole)
    broken["model_graph"]["stages"][0]["type"] = "torrone"
    path.write_text(json.dumps(broken))
    assert [m.model_component for m in client.models()] == ["bolts"]
    assert client.describe("bolts").status == wire.STOPPED
    described = client.start_and_wait("bolts", wire.FAILED)
    assert "model_graph.stages[0].type: is 'torrone'" in described.status_message
    with refused("FAILED_PRECONDITION", "FAILED"):
        client.detect("bolts", GREY)
    with refused("FAILED_PRECONDITION", "FAILED"):
        client.stop("bolts")
    path.write_text(whole)
    assert client.start_and_wait("bolts").status_message == ""


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("unfit", {"channels": 4}, "its outputs do not fit its manifest"),
        ("neo", {"top": {"runtime": None}}, "holds 0 *.so files, not one"),
        ("torch", {"top": {"runtime": "pytorch"}}, "runtime: is 'pytorch', which is not supported"),
        ("climbing", {"top": {"runtime_artifact": "../../bolts/mochi/model.onnx"}}, "lies outside the package"),
    ],
)
def test_what_does_not_load_is_failed(models: Path, client: Any, name: str, options: Any, message: str) -> None:
    make_package(models / name, **options)
    assert message in client.start_and_wait(name, wire.FAILED).status_message


@pytest.mark.parametrize("data", [b"", b"no zip"])
def test_a_torn_zip_is_listed_and_failed(models: Path, client: Any, data: bytes) -> None:
    (models / "torn.zip").write_bytes(data)
    assert "torn" in [m.model_component for m in client.models()]
    assert "cannot be unpacked" in client.start_and_wait("torn", wire.FAILED).status_message


def test_a_model_whose_warm_up_fails_is_failed(models: Path, client: Any) -> None:
    """The graph fits its manifest and divides zero by zero when it runs."""
    import onnx
    from onnx import helper

    path = make_package(models / "sick")
    network = onnx.load(str(path / "mochi" / "model.onnx"))
    (last,) = [node for node in network.graph.node if node.op_type == "Concat"]
    last.output[0] = "sound"
    network.graph.node.append(helper.make_node("Sub", ["sound", "sound"], ["zero"]))
    network.graph.node.append(helper.make_node("Div", ["zero", "zero"], ["class"]))
    onnx.save(network, str(path / "mochi" / "model.onnx"))
    assert "which is no probability" in client.start_and_wait("sick", wire.FAILED).status_message


def test_one_line_for_each_change_of_state(
    models: Path, socket_path: str, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    del models, socket_path
    with caplog.at_level("INFO", logger="edge_agent.server"):
        client.start_and_wait("bolts")
        client.detect("bolts", GREY)
        client.stop("bolts")
    starting, running, *stopped = caplog.messages
    assert re.fullmatch(r"bolts: RUNNING on ONNX Runtime [0-9.]+, cpu", running)
    assert [starting, *stopped] == ["bolts: STARTING", "bolts: STOPPING", "bolts: STOPPED"]


def test_providers_are_the_servers_setting(models: Path, socket_path: str) -> None:
    server = ModelServer(models, socket_path, threads=1, onnx=OnnxOptions(("cuda",)))
    server.start()
    client = Client(socket_path)
    try:
        message = client.start_and_wait("bolts", wire.FAILED).status_message
    finally:
        client.close()
        server.stop(5)
    assert re.search(r"may run on cuda only, and this ONNX Runtime has .*cpu|does not load on cuda", message)
