"""Commands over IoT Core and local publish/subscribe, with the rights of the shipped recipe."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import jsonschema
import pytest
from PIL import Image
from support.plant import MODEL, OTHER, Component, Plant
from support.waiting import until

from edge_agent.agent.talk import command_desk, commands
from edge_agent.agent.talk.command_desk import CommandDesk
from edge_agent.clock import SystemClock
from edge_agent.detector import EdgeAgentClient

DOCS = Path(__file__).parents[2] / "docs"
COMMAND_SCHEMA = json.loads((DOCS / "command.schema.json").read_text())
REPLY_SCHEMA = json.loads((DOCS / "reply.schema.json").read_text())
TRIGGERED = {"trigger": {"type": "message", "source": "local", "topic": "edge-agent/{thing}/triggers/a"}}


@pytest.fixture
def running(plant: Plant, component: Component) -> Iterator[Tuple[Plant, Component]]:
    plant.configure(plant.configuration({"a": plant.lane("a"), "b": plant.lane("b", **TRIGGERED)}))
    plant.start()
    yield plant, component
    while not component.replies.empty():
        jsonschema.validate(component.replies.get(), REPLY_SCHEMA)


def _ask(component: Component, source: str = "iot_core", **command: Any) -> Dict[str, Any]:
    jsonschema.validate(command, COMMAND_SCHEMA)
    reply = component.ask(source, **command)
    jsonschema.validate(reply, REPLY_SCHEMA)
    assert reply["id"] == command["id"]
    assert reply["command"] == command["command"]
    return reply


def test_record_keeps_the_next_frames_with_a_persons_label(plant: Plant, component: Component) -> None:
    recorded = plant.root / "recorded"
    recorder = {"path": str(recorded), "lanes": ["a"], "free_bytes": 0}
    plant.configure(plant.configuration({"a": plant.lane("a"), "b": plant.lane("b")}, recorder=recorder))
    inspector = plant.start()
    reply = _ask(component, id="1", command="record", lane="a", frames=2, label="normal")
    assert reply["result"] == {"lane": "a", "asked_for": 2}
    assert _ask(component, "local", id="2", command="record", lane="a")["result"]["asked_for"] == 3
    refused = _ask(component, id="3", command="record", lane="b")["error"]
    assert (refused["code"], "is not recorded" in refused["message"]) == ("refused", True)
    assert _ask(component, id="4", command="record", lane="none")["error"]["code"] == "not_found"
    plant.give("a", 5)
    until(lambda: inspector.report()["recorder"]["lanes"].get("a", {}).get("recorded") == 3)
    until(lambda: inspector.report()["recorder"]["lanes"]["a"]["offered"] == 5)
    counts = plant.finish()["recorder"]["lanes"]["a"]
    assert (counts["skipped"], counts["kept"], counts["balanced"]) == (2, 3, True)
    lines = [json.loads(line) for line in (recorded / "a.manifest").read_text().splitlines()]
    assert [line["anomaly-label-metadata"]["human-annotated"] for line in lines] == ["yes", "yes", "no"]


def test_pause_resume_status_and_trigger(running: Tuple[Plant, Component]) -> None:
    plant, component = running
    assert _ask(component, id="1", command="pause", lane="a")["result"] == {"paused": ["a"]}
    status = _ask(component, id="2", command="status", source="local")["result"]
    assert {name: lane["state"] for name, lane in status["lanes"].items()} == {"a": "paused", "b": "running"}
    assert status["lanes"]["a"]["model"] == MODEL
    assert _ask(component, id="3", command="resume")["result"] == {"resumed": ["a", "b"]}
    assert list(_ask(component, id="4", command="status", lane="a")["result"]["lanes"]) == ["a"]
    inspector = plant.operation.inspector
    assert inspector is not None
    plant.give("b")
    until(lambda: inspector.lane("b").status()["camera"] == "live")
    reply = _ask(component, "local", id="part-7", command="trigger", lane="b")
    assert reply["result"] == {"lane": "b", "trigger_id": "part-7"}
    until(lambda: inspector.accounting()["b"].delivered == 1)
    (message,) = plant.inspections()
    assert message["trigger_id"] == "part-7"
    assert _ask(component, id="5", command="trigger", lane="a")["error"]["code"] == "refused"
    assert _ask(component, id="6", command="trigger", lane="z")["error"]["code"] == "not_found"


def test_a_snapshot_is_a_small_picture_with_its_verdict(running: Tuple[Plant, Component]) -> None:
    plant, component = running
    giving = threading.Event()

    def give() -> None:
        while not giving.wait(0.1):
            plant.give("a")

    thread = threading.Thread(target=give)
    thread.start()
    try:
        reply = _ask(component, id="1", command="snapshot", lane="a", within_s=20)
    finally:
        giving.set()
        thread.join()
    result = reply["result"]
    picture = Image.open(io.BytesIO(base64.b64decode(result["image"]["base64"])))
    assert picture.format == "JPEG"
    assert picture.size == (result["image"]["width"], result["image"]["height"]) == (320, 240)
    assert result["inspection"]["is_anomalous"] is False
    assert len(json.dumps(reply)) <= 7000
    assert _ask(component, id="2", command="snapshot", lane="b", within_s=0.2)["error"]["code"] == "timeout"


def test_models_are_stopped_started_and_switched(running: Tuple[Plant, Component]) -> None:
    plant, component = running
    inspector = plant.operation.inspector
    assert inspector is not None
    plant.give("a", 3)
    until(lambda: inspector.accounting()["a"].inspected == 3)
    agent = EdgeAgentClient(plant.server.socket)
    stopped = _ask(component, id="1", command="stop_model", model=MODEL)["result"]
    assert stopped == {"model": MODEL, "state": "STOPPED", "paused_lanes": ["a", "b"]}
    plant.give("a")  # nobody starts the model again for it
    assert agent.describe(MODEL).status == "STOPPED"
    assert inspector.accounting()["a"].captured == 3
    started = _ask(component, id="2", command="start_model", model=MODEL)["result"]
    assert started == {"model": MODEL, "state": "RUNNING", "paused_lanes": ["a", "b"]}
    assert _ask(component, id="3", command="resume")["ok"]
    until(lambda: inspector.accounting()["a"].inspected == 4)
    switched = _ask(component, id="4", command="switch_model", lane="a", model=OTHER)["result"]
    assert switched == {"lane": "a", "model": OTHER, "before": MODEL}
    assert _ask(component, id="5", command="stop_model", model="absent")["error"]["code"] == "not_found"
    assert not inspector.lane("a").paused()
    agent.close()


def test_threshold_and_log_level(running: Tuple[Plant, Component]) -> None:
    plant, component = running
    root = logging.getLogger()
    level = root.level
    try:
        reply = _ask(component, id="1", command="set_log_level", level="debug")
        assert reply["result"]["level"] == "debug"
        assert root.level == logging.DEBUG
    finally:
        root.setLevel(level)
    reply = _ask(component, id="2", command="set_threshold", lane="a", threshold=0.9)
    assert reply["result"] == {"lane": "a", "threshold": 0.9, "before": None}
    inspector = plant.operation.inspector
    assert inspector is not None
    assert inspector.settings.lanes["a"].threshold == 0.9
    assert _ask(component, id="3", command="set_threshold", lane="a", threshold=None)["result"]["before"] == 0.9


def test_what_is_no_command_gets_an_error_and_changes_nothing(running: Tuple[Plant, Component]) -> None:
    plant, component = running
    cases = [
        (b"", None, "malformed"),
        (b"[]", None, "malformed"),
        (b"\xff\xfe", None, "malformed"),
        (b"[" * 3000, None, "malformed"),
        (b'{"id": "x", "command": "explode"}', "x", "malformed"),
        (b'{"id": "x", "command": "pause", "lanes": "a"}', "x", "malformed"),
        (b'{"id": "x", "command": "set_threshold", "lane": "a", "threshold": 2}', "x", "malformed"),
        (b'{"id": "x", "command": "set_threshold", "lane": "a"}', "x", "malformed"),
        (b'{"id": "x", "command": "set_threshold", "lane": "a", "threshold": "0.5"}', "x", "malformed"),
        (b'{"id": "", "command": "status"}', None, "malformed"),
        (b'{"id": "a b", "command": "status"}', None, "malformed"),
        (b'{"id": 7, "command": "status"}', None, "malformed"),
        (b'{"id": "x", "command": "status", "version": 2}', "x", "malformed"),
        (b'{"id": "x", "command": "snapshot", "lane": "a", "within_s": 1e9}', "x", "malformed"),
        (b'{"id": "x", "command": "status"}' + b" " * 4096, None, "too_large"),
        (b'{"id": "x", "command": "pause", "lane": "../z"}', "x", "not_found"),
    ]
    for payload, request, code in cases:
        component.send("iot_core", payload)
        reply = component.replies.get(timeout=20)
        jsonschema.validate(reply, REPLY_SCHEMA)
        assert (reply["id"], reply["ok"], reply["error"]["code"]) == (request, False, code), payload
        if code == "malformed" and request is not None:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(json.loads(payload), COMMAND_SCHEMA)
    inspector = plant.operation.inspector
    assert inspector is not None
    assert not any(lane.paused() for lane in inspector.lanes().values())
    counts = plant.report()["commands"]
    assert counts["received"] == len(cases)
    assert counts["malformed"] == len(cases) - 1


class _Desk:
    """A desk whose work waits until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.performed: List[str] = []
        self.replies: List[Dict[str, Any]] = []
        self.desk = CommandDesk("t", self._perform, self._reply, SystemClock())
        self.desk.start()

    def _perform(self, command: commands.AnyCommand, _received_ns: int) -> Dict[str, Any]:
        assert self.go.wait(20)
        self.performed.append(command.id)
        if command.id == "broken":
            raise ZeroDivisionError
        return {"n": len(self.performed)}

    def _reply(self, _source: str, message: bytes) -> bool:
        self.replies.append(json.loads(message))
        return True

    def send(self, request: str, command: str = "status", **others: Any) -> None:
        self.desk.receive("local", json.dumps({"id": request, "command": command, **others}).encode())


@pytest.fixture
def desk() -> Iterator[_Desk]:
    made = _Desk()
    yield made
    made.go.set()
    made.desk.close()


def test_a_repeated_id_is_done_once_and_answered_alike(desk: _Desk) -> None:
    desk.send("1")
    desk.send("1")  # before it is done: one reply will come
    desk.go.set()
    until(lambda: len(desk.replies) == 1)
    desk.send("1")
    desk.send("2")
    until(lambda: len(desk.replies) == 3)
    assert desk.performed == ["1", "2"]
    assert desk.replies[0] == desk.replies[1]
    assert desk.desk.counts() == {"received": 4, "repeated": 2, "done": 2}


def test_a_flood_is_answered_as_busy_and_slow_commands_hold_up_no_trigger(desk: _Desk) -> None:
    for number in range(200):
        desk.send(str(number), "snapshot", lane="a")
    waiting = command_desk.CAPACITY
    until(lambda: len(desk.replies) in (200 - waiting - 1, 200 - waiting))
    assert {reply["error"]["code"] for reply in desk.replies} == {"busy"}
    refused = desk.replies[-1]["id"]
    desk.go.set()
    desk.send("quick")
    until(lambda: "quick" in desk.performed)
    until(lambda: len(desk.replies) == 201)
    desk.send(refused, "snapshot", lane="a")
    until(lambda: refused in desk.performed)
    counts = desk.desk.counts()
    assert counts["received"] == 202 == counts["busy"] + counts["done"]


def test_a_fault_of_ours_ends_one_command_alone(desk: _Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.go.set()
    desk.send("broken")
    desk.send("whole")
    until(lambda: len(desk.replies) == 2)
    assert [reply.get("error", {}).get("code") for reply in desk.replies] == ["internal", None]
    assert caplog.text.count("an internal error") == 1


def test_the_schema_knows_every_command_and_key() -> None:
    known = {branch["properties"]["command"]["const"]: branch for branch in COMMAND_SCHEMA["oneOf"]}
    for kind in commands.COMMANDS:
        branch = known.pop(kind.__struct_config__.tag)
        keys = set(branch["properties"])
        assert keys == {"command", *kind.__struct_fields__}, kind
        assert branch["additionalProperties"] is False
    assert known == {}
