"""A real MQTT broker."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from support.outputs.parts import answers
from support.outputs.peer import ProcessPeer
from support.waiting import until

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class BrokerPeer(ProcessPeer):
    """mosquitto, and a client that subscribes to everything."""

    name = "mqtt"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.options = "allow_anonymous true\n"

    @classmethod
    def missing(cls) -> str:
        return "" if Path(MOSQUITTO).exists() else "mosquitto"

    def settings(self) -> Dict[str, Any]:
        return {"type": "mqtt", "host": "127.0.0.1", "port": self.port, "timeout_s": 0.5, "topic": "line/parts"}

    def start(self) -> None:
        configuration = self.directory / "mosquitto.conf"
        # Retained messages and the log are this start's own.
        configuration.write_text(f"listener {self.port} 127.0.0.1\npersistence false\nuser root\n{self.options}")
        log = (self.directory / "mosquitto.log").open("wb")
        with log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", str(configuration)], stdout=log, stderr=log)
        until(lambda: answers(self.port))
        self.messages: List[Tuple[str, bytes, bool]] = []
        self._client = self._subscriber()

    def stop(self) -> None:
        if self._process is not None:
            super().stop()
            self._client.disconnect()
            self._client.loop_stop()

    def applied(self) -> int:
        return sum(topic == "line/parts" for topic, _payload, _retained in self.messages)

    def states(self) -> List[str]:
        return [json.loads(payload)["state"] for topic, payload, _r in self.messages if topic.endswith("/state")]

    def first_state(self) -> Optional[str]:
        """The first one of this start; None where the subscriber came after it, and found what was retained."""
        states = [
            (json.loads(payload)["state"], old) for topic, payload, old in self.messages if topic.endswith("/state")
        ]
        return states[0][0] if states and not states[0][1] else None

    def is_safe(self) -> bool:
        return self.states()[-1:] in (["safe"], ["stopped"])

    def configure_client(self, client: Any) -> None:
        """For a broker that asks for more."""

    def _subscriber(self) -> Any:
        from paho.mqtt import client as mqtt

        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.configure_client(client)
        ready = threading.Event()
        client.on_message = lambda _c, _d, message: self.messages.append(
            (message.topic, bytes(message.payload), message.retain)
        )
        client.on_subscribe = lambda *_: ready.set()
        client.connect("127.0.0.1", self.port)
        client.subscribe("#", qos=1)
        client.loop_start()
        assert ready.wait(20)
        return client
