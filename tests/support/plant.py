"""A whole site in one process: model server, local nucleus with the shipped recipe, and `edge-agent run`'s operation."""

from __future__ import annotations

import json
import queue
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from PIL import Image
from support.packages import make_package
from support.waiting import until

from edge_agent.agent import Inspector, Operation
from edge_agent.clock import Clock, SystemClock
from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.nucleus import LocalNucleus
from edge_agent.inspection import inspections_in
from edge_agent.server import ModelServer

MODEL = "com.example.Colours"
OTHER = "com.example.Others"
THING = "press-7"
RECIPE = Path(__file__).parents[2] / "recipe" / "inspector.yaml"


class Plant:
    """Args:
    root: a directory of its own.
    mode: of the nucleus.
    setenv: puts the component's variables into this process.
    """

    def __init__(self, root: Path, mode: str, setenv: Callable[[str, str], None]) -> None:
        self.root = root
        self.record = root / "record.jsonl"
        for model in (MODEL, OTHER):
            make_package(root / "models" / model, version="3.1.4")
        self.server = ModelServer(root / "models", str(root / "server.sock"), threads=1)
        self.server.start()
        self.nucleus = LocalNucleus(root / "nucleus.sock", recipe=RECIPE, mode=mode, thing=THING, record=self.record)
        self.nucleus.start()
        for name, value in self.nucleus.environment().items():
            setenv(name, value)
        self.stop = threading.Event()
        self.well: Optional[bool] = None
        self._thread: Optional[threading.Thread] = None
        self._given: Dict[str, int] = {}

    def lane(self, name: str, **settings: Any) -> Dict[str, Any]:
        """Settings of a lane with a folder of its own."""
        (self.root / name).mkdir(exist_ok=True)
        camera = {"type": "folder", "path": str(self.root / name), "poll_s": 0.02, "settle_s": 0}
        return {"model": MODEL, "camera": camera, **settings}

    def configuration(self, lanes: Dict[str, Dict[str, Any]], **others: Any) -> Dict[str, Any]:
        return {"socket": self.server.socket, "spool": {"path": str(self.root / "spool")}, "lanes": lanes, **others}

    def configure(self, values: Dict[str, Any]) -> None:
        """What a deployment merges."""
        self.nucleus.configure(values)

    def start(self, config_file: Optional[Path] = None, clock: Optional[Clock] = None) -> Inspector:
        self.operation = Operation(config_file, thing=THING, clock=clock or SystemClock(), stop=self.stop)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        until(lambda: self.operation.inspector is not None and self.operation.inspector.lanes(), what="the start")
        assert self.operation.inspector is not None
        return self.operation.inspector

    def _run(self) -> None:
        self.well = self.operation.run()

    def give(self, lane: str, count: int = 1) -> None:
        """New images, each moved in whole."""
        for _ in range(count):
            number = self._given[lane] = self._given.get(lane, 0) + 1
            draft = self.root / f"draft-{lane}.png"
            Image.new("RGB", (320, 240), (128, 128, 128)).save(draft, compress_level=1)
            draft.rename(self.root / lane / f"{number:06d}.png")

    def given(self, lane: str) -> int:
        return self._given.get(lane, 0)

    def messages(self, kind: str) -> List[Dict[str, Any]]:
        """Payloads that the nucleus accepted on this device's topic of a kind, such as `health`."""
        if not self.record.exists():
            return []
        lines = [json.loads(line) for line in self.record.read_text().splitlines()]
        return [line["payload"] for line in lines if line["topic"] == f"edge-agent/{THING}/{kind}"]

    def inspections(self) -> List[Dict[str, Any]]:
        """In the order of their publication."""
        return [one for message in self.messages("inspections") for one in inspections_in(message)]

    def report(self) -> Dict[str, Any]:
        report = self.operation.report()
        assert report is not None
        return report

    def finish(self) -> Dict[str, Any]:
        """Stop the operation, in the time that the classic nucleus gives, and give its last report."""
        started = time.monotonic()
        self.stop.set()
        assert self._thread is not None
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.stopped_s = time.monotonic() - started
        return self.report()

    def close(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self.finish()
        self.nucleus.stop()
        self.server.stop(1.0)


class Component:
    """Another component of the device, or the cloud: commands out, replies in, over a client of its own."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._client = IpcClient.connect()
        self.replies: "queue.Queue[Dict[str, Any]]" = queue.Queue()
        topic = f"edge-agent/{THING}/replies"
        self._subscriptions = 0
        # The recipe allows the inspector no more than it needs; for this client the nucleus has to look away.
        plant.nucleus.configure(_SPY)
        self._client.subscribe_to_iot_core(topic, self._heard)
        self._client.subscribe_to_topic(topic, self._heard)

    def _heard(self, _topic: str, payload: bytes) -> None:
        self.replies.put(json.loads(payload))

    def ask(self, source: str = "iot_core", **command: Any) -> Dict[str, Any]:
        """The reply to a command."""
        self.send(source, json.dumps(command).encode())
        return self.replies.get(timeout=40)

    def send(self, source: str, payload: bytes) -> None:
        topic = f"edge-agent/{THING}/commands"
        deliver = self._plant.nucleus.publish if source == "iot_core" else self._plant.nucleus.publish_local
        # The inspector may still be subscribing.
        until(lambda: deliver(topic, payload) == 1, what=f"a subscription to {topic}")

    def close(self) -> None:
        self._client.close()


_SPY = {
    "accessControl": {
        "aws.greengrass.ipc.mqttproxy": {
            "test:spy": {
                "operations": ["aws.greengrass#SubscribeToIoTCore"],
                "resources": ["edge-agent/{iot:thingName}/*"],
            }
        },
        "aws.greengrass.ipc.pubsub": {
            "test:spy": {
                "operations": ["aws.greengrass#SubscribeToTopic"],
                "resources": ["edge-agent/{iot:thingName}/*"],
            }
        },
    }
}
