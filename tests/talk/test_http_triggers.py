"""Triggers over HTTP: POST /lanes/<lane>/trigger, with and without a nucleus."""

from __future__ import annotations

import http.client
import json
import socket
import stat
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

import pytest
from support.plant import THING, Plant
from support.waiting import until

from edge_agent.agent import read_settings
from edge_agent.errors import ConfigError

BY_CALL = {"trigger": {"type": "message", "source": "http"}}


@pytest.fixture(params=["classic"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Caller:
    """Another program of the device, with the token."""

    def __init__(self, plant: Plant) -> None:
        self.port = free_port()
        self.token_file = plant.root / "secrets" / "http.token"
        self.settings = {"address": f"127.0.0.1:{self.port}", "token_file": str(self.token_file)}

    def call(
        self, path: str, body: bytes = b"", method: str = "POST", token: Optional[str] = None
    ) -> Tuple[int, Dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            bearer = self.token_file.read_text().strip() if token is None else token
            connection.request(method, path, body=body, headers={"Authorization": f"Bearer {bearer}"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def serves(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except ConnectionRefusedError:
            return False
        return True


@pytest.fixture
def caller(plant: Plant) -> Iterator[Caller]:
    made = Caller(plant)
    plant.configure(plant.configuration({"a": plant.lane("a", **BY_CALL), "b": plant.lane("b")}, http=made.settings))
    return made


def test_each_call_is_one_part(plant: Plant, caller: Caller) -> None:
    inspector = plant.start()
    plant.give("a", 3)
    until(caller.serves)
    until(lambda: inspector.lane("a").status()["camera"] == "live")
    assert stat.S_IMODE(caller.token_file.stat().st_mode) == 0o600
    assert caller.call("/lanes/a/trigger", b'{"id": "part-1"}') == (202, {"status": "fired", "trigger_id": "part-1"})
    until(lambda: inspector.accounting()["a"].inspected == 1)
    assert caller.call("/lanes/a/trigger", b'{"id": "part-1"}') == (200, {"status": "repeated", "trigger_id": "part-1"})
    status, answer = caller.call("/lanes/a/trigger")
    assert (status, answer["status"]) == (202, "fired")
    until(lambda: len(plant.inspections()) == 2)
    assert [one["trigger_id"] for one in plant.inspections()] == ["part-1", answer["trigger_id"]]
    inspector.lane("a").pause()
    assert caller.call("/lanes/a/trigger", b'{"id": "part-3"}')[0] == 409
    inspector.lane("a").resume()
    # A part that was missed may be asked for again.
    assert caller.call("/lanes/a/trigger", b'{"id": "part-3"}')[0] == 202
    until(lambda: inspector.accounting()["a"].inspected == 3)
    report = plant.finish()
    assert report["trigger_messages"] == {"received": 5, "fired": 3, "repeated": 1, "missed": 1}
    triggers = report["lanes"]["a"]["triggers"]
    assert (triggers["received"], triggers["taken"], triggers["missed"]) == (4, 3, {"paused": 1})
    assert not caller.serves()


def test_who_may_call_and_what(plant: Plant, caller: Caller) -> None:
    plant.start()
    until(caller.serves)
    assert caller.call("/lanes/a/trigger", token="x" * 32)[0] == 401
    for path, method, status in (
        ("/lanes/a/trigger", "GET", 405),
        ("/lanes/b/trigger", "POST", 404),
        ("/lanes/none/trigger", "POST", 404),
        ("/lanes/a/../b/trigger", "POST", 404),
        ("/nothing", "GET", 404),
    ):
        assert caller.call(path, method=method)[0] == status, path
    assert caller.call("/lanes/a/trigger", b"x" * 70_000)[0] == 413
    assert plant.report()["trigger_messages"] == {}


def test_a_change_of_the_configuration_moves_the_address(plant: Plant, caller: Caller) -> None:
    plant.start()
    until(caller.serves)
    old, caller.port = caller.port, free_port()
    plant.configure({"http": {"address": f"127.0.0.1:{caller.port}"}})
    until(caller.serves)
    assert caller.call("/nothing", method="GET")[0] == 404
    caller.port = old
    until(lambda: not caller.serves())


def test_an_address_that_is_taken_is_tried_again(
    plant: Plant, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", caller.port)):
        plant.start()
        until(lambda: "cannot be served on" in caplog.text)
    until(caller.serves)
    assert caplog.text.count("cannot be served on") == 1


def test_an_open_token_file_is_refused_and_the_line_runs(
    plant: Plant, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caller.token_file.parent.mkdir()
    caller.token_file.write_text("0123456789abcdef\n")
    caller.token_file.chmod(0o644)
    inspector = plant.start()
    until(lambda: "is open to every user of this machine" in caplog.text)
    plant.give("b")
    until(lambda: inspector.accounting()["b"].inspected == 1)
    caller.token_file.chmod(0o600)
    until(caller.serves)


def test_without_an_address_the_configuration_is_refused(plant: Plant, tmp_path: Path) -> None:
    wrong = plant.configuration({"a": plant.lane("a", **BY_CALL)})
    with pytest.raises(ConfigError, match=r"file: lanes\.a\.trigger: waits for calls over HTTP, and nothing is served"):
        read_settings(wrong, "file", thing=THING)
    with pytest.raises(ConfigError, match="`address` and `token_file` belong together"):
        read_settings({**wrong, "http": {"address": "127.0.0.1:0"}}, "file", thing=THING)
    read_settings({**wrong, "http": {"address": "127.0.0.1:0", "token_file": str(tmp_path)}}, "file", thing=THING)
