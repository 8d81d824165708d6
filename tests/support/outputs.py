"""What an output talks to, for tests and experiments: real peers that are put up, taken away, and made to hang."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, Iterator, List, Optional, Tuple

import yaml

from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.nucleus import LocalNucleus
from edge_agent.inspection import Anomaly, Inspection, Timings
from edge_agent.outputs import Part
from edge_agent.triggers import Trigger

THING = "press-7"
TESTS = Path(__file__).parents[1]
RECIPE = TESTS.parent / "recipe" / "inspector.yaml"
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"did not happen within {seconds:g} s"
        time.sleep(0.002)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def part(sequence: Optional[int] = 1, lane: str = "a", ago_ms: float = 0.0) -> Part:
    return Part(lane, time.monotonic_ns() - round(ago_ms * 1e6), time.time_ns(), sequence, "trigger-1")


def inspection(
    sequence: int = 1, *, anomalous: bool = True, confidence: float = 0.9, lane: str = "a", **areas: float
) -> Inspection:
    return Inspection(
        id=f"{sequence:032x}",
        run="0" * 32,
        thing=THING,
        camera=lane,
        sequence=sequence,
        captured_at_ns=time.time_ns(),
        model_component="com.example.Colours",
        model_version="1",
        is_anomalous=anomalous,
        confidence=confidence,
        anomalies=tuple(Anomaly(name, area, "#FF0000") for name, area in areas.items()),
        timings=Timings(1.0, 1.0, 1.0, 3.0),
        image_width=64,
        image_height=64,
        source="test",
    )


class NoStations:
    """No lane is there."""

    def ready(self, lane: str) -> bool:
        return False

    def inspecting(self, lane: str) -> bool:
        return False

    def fire(self, lane: str, trigger: Trigger) -> bool:
        return False


class Peer:
    """One kind of output's other side. A kind's peer overrides what differs.

    Attributes:
        name: of the kind.
        notices: whether the output itself notices that the peer is away (what a spool bridges, it does not).
        can_hang: whether the peer can be there and not answer.
        has_state: whether the peer can tell a safe output from a working one.
    """

    name: ClassVar[str]
    notices: ClassVar[bool] = True
    can_hang: ClassVar[bool] = False
    has_state: ClassVar[bool] = True

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def missing(cls) -> str:
        """What this machine lacks; empty: nothing."""
        return ""

    def settings(self) -> Dict[str, Any]:
        """`to` of the output."""
        raise NotImplementedError

    def start(self) -> None:
        """Put it up, also again after `stop`."""
        raise NotImplementedError

    def stop(self) -> None:
        """Take it away; any number of times."""
        raise NotImplementedError

    def hang(self) -> None:
        """From now on it is there and does not answer."""
        raise NotImplementedError

    def resume(self) -> None:
        """It answers again."""
        raise NotImplementedError

    def applied(self) -> int:
        """How many actions it has seen since `start`."""
        raise NotImplementedError

    def is_safe(self) -> bool:
        """Whether what it sees now is the safe state."""
        raise NotImplementedError

    def close(self) -> None:
        self.stop()


class ChipPeer(Peer):
    """A simulated chip; the safe level is the active one, so that it differs from a part that was not acted on."""

    name = "gpio"
    line = 4

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.chip = directory / "chip"

    def settings(self) -> Dict[str, Any]:
        return {"type": "gpio", "chip": f"sim:{self.chip}", "line": self.line, "pulse_ms": 20, "safe": "active"}

    def start(self) -> None:
        self.chip.mkdir()

    def stop(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # In one step: a chip is there or it is not.
            self.chip.rename(self.directory / f"gone-{time.monotonic_ns()}")

    def levels(self) -> List[Tuple[int, int]]:
        """Monotonic time and level of each setting."""
        try:
            text = (self.chip / f"line{self.line}.out").read_text()
        except FileNotFoundError:
            return []
        return [(int(at), int(level)) for at, level in (line.split() for line in text.splitlines())]

    def applied(self) -> int:
        """Pulses: what follows a 0 that ended the safe state."""
        levels = [level for _at, level in self.levels()]
        return sum(1 for before, level in zip(levels, levels[1:]) if (before, level) == (0, 1))

    def is_safe(self) -> bool:
        levels = self.levels()
        return bool(levels) and levels[-1][1] == 1


class PlcPeer(Peer):
    """pymodbus as a device, a process of its own."""

    name = "modbus"
    can_hang = True
    coil, registers = 7, 20

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._looker: Optional[Any] = None

    @classmethod
    def missing(cls) -> str:
        try:
            import pymodbus  # noqa: F401
        except ImportError:
            return "pymodbus"
        return ""

    def settings(self) -> Dict[str, Any]:
        return {
            "type": "modbus",
            "host": "127.0.0.1",
            "port": self.port,
            "coil": self.coil,
            "registers": self.registers,
            "pulse_ms": 20,
            "timeout_s": 0.25,
            "check_s": 0.1,
        }

    def start(self) -> None:
        command = [sys.executable, "-m", "support.modbus_device", str(self.port)]
        self._process = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: answers(self.port))

    def stop(self) -> None:
        if self._looker is not None:
            self._looker.close()
            self._looker = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def read_registers(self, count: int = 6) -> List[int]:
        return list(self._look().read_holding_registers(self.registers, count=count).registers)

    def read_coil(self) -> bool:
        return bool(self._look().read_coils(self.coil, count=1).bits[0])

    def applied(self) -> int:
        """Its own count starts with the output's, so that it is a difference that a test looks at."""
        return self.read_registers()[0]

    def is_safe(self) -> bool:
        return self.read_registers()[1] == 0 and not self.read_coil()

    def _look(self) -> Any:
        from pymodbus.client import ModbusTcpClient

        if self._looker is None:
            self._looker = ModbusTcpClient("127.0.0.1", port=self.port)
            assert self._looker.connect()
        return self._looker


class HandshakePeer(PlcPeer):
    """pymodbus again, as a PLC that asks for nothing and acknowledges nothing."""

    name = "plc"
    registers = 20

    def settings(self) -> Dict[str, Any]:
        return {
            "type": "plc",
            "host": "127.0.0.1",
            "port": self.port,
            "status": self.registers,
            "plc_silent_s": 0,
            "timeout_s": 0.25,
        }

    def applied(self) -> int:
        """Results that wait, and those that were lost because eight did."""
        words = self.read_registers(5)
        return words[3] + words[4]

    def is_safe(self) -> bool:
        return bool(self.read_registers(1)[0] & 0x80)


class OpcUaPeer(Peer):
    """asyncua as a server, a process of its own. With `secured` it has the certificates that lie in its directory."""

    name = "opcua"
    can_hang = True
    nodes = ("state", "count", "verdict", "confidence", "area", "sequence", "classes", "document")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.secured = False
        self._process: Optional[subprocess.Popen[bytes]] = None

    @classmethod
    def missing(cls) -> str:
        return "" if importlib.util.find_spec("asyncua") else "asyncua"

    def settings(self) -> Dict[str, Any]:
        return {
            "type": "opcua",
            "url": f"opc.tcp://127.0.0.1:{self.port}/line",
            "nodes": {name: f"ns=2;s=Line.{name}" for name in self.nodes},
            "timeout_s": 2,
            "check_s": 0.1,
        }

    def start(self) -> None:
        command = [sys.executable, "-m", "support.opcua_device", str(self.port)]
        command += [str(self.directory)] if self.secured else []
        self._process = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: answers(self.port), 60)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def read(self, name: str) -> Any:
        from asyncua import Client

        async def ask() -> Any:
            async with Client(self.settings()["url"], timeout=20) as client:
                return await client.get_node(f"ns=2;s=Line.{name}").read_value()

        return asyncio.run(ask())

    def applied(self) -> int:
        return int(self.read("count"))

    def is_safe(self) -> bool:
        return self.read("state") in ("safe", "stopped") and self.read("verdict") == 0


class BrokerPeer(Peer):
    """mosquitto, and a client that subscribes to everything."""

    name = "mqtt"
    can_hang = True

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.options = "allow_anonymous true\n"
        self._process: Optional[subprocess.Popen[bytes]] = None

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
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None
            self._client.disconnect()
            self._client.loop_stop()

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

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


class HookPeer(Peer):
    """An HTTP server that remembers what it took."""

    name = "webhook"
    notices = False
    can_hang = True
    has_state = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.status = 200
        self.bodies: List[bytes] = []
        self.headers: List[Dict[str, str]] = []
        self.asked = 0
        self._going = threading.Event()
        self._server: Optional[http.server.ThreadingHTTPServer] = None
        self.secret = directory / "secret"
        self.secret.write_text("a secret\n")

    def settings(self) -> Dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/parts?line=7"
        return {"type": "webhook", "url": url, "secret_file": str(self.secret), "timeout_s": 0.5}

    def start(self) -> None:
        peer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                peer.asked += 1
                peer._going.wait()
                if peer._server is None:
                    self.close_connection = True  # it went meanwhile
                    return
                if peer.status < 300:
                    peer.bodies.append(body)
                    peer.headers.append(dict(self.headers))
                with contextlib.suppress(OSError):
                    self.send_response(peer.status)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"ok")

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._going.set()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        server, self._server = self._server, None
        self._going.set()
        if server is not None:
            server.shutdown()
            server.server_close()

    def hang(self) -> None:
        self._going.clear()

    def resume(self) -> None:
        self._going.set()

    def parts(self) -> List[Dict[str, Any]]:
        return [found for body in list(self.bodies) for found in json.loads(body)["parts"]]

    def applied(self) -> int:
        return len(self.parts())


class NucleusPeer(Peer):
    """The local nucleus with the shipped recipe, and another component that listens."""

    name = "pubsub"
    has_state = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.messages: List[bytes] = []
        self._nucleus: Optional[LocalNucleus] = None
        self._listener: Optional[IpcClient] = None
        self._token: Optional[str] = None

    def settings(self) -> Dict[str, Any]:
        return {"type": "pubsub", "timeout_s": 1}

    def start(self) -> None:
        self._nucleus = LocalNucleus(self.directory / "nucleus.sock", recipe=self._recipe(), thing=THING)
        self._nucleus.start()
        os.environ.update(self._nucleus.environment())
        self._listener = IpcClient.connect()
        self._listener.subscribe_to_topic(
            f"edge-agent/{THING}/outputs/inspections", lambda _topic, payload: self.messages.append(payload)
        )

    def _recipe(self) -> Path:
        """The shipped one, for a component that may also listen to everything."""
        recipe = yaml.safe_load(RECIPE.read_text())
        rules = recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"]["aws.greengrass.ipc.pubsub"]
        rules["com.edgeagent.Inspector:pubsub:2"]["resources"] = ["*"]
        copy = self.directory / "inspector.json"
        copy.write_text(json.dumps(recipe))
        return copy

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._nucleus is not None:
            for name in self._nucleus.environment():
                os.environ.pop(name, None)
            self._nucleus.stop()
            self._nucleus = None

    def applied(self) -> int:
        return len(self.messages)


class FilePeer(Peer):
    """A directory; one that was renamed is a disk that was taken away."""

    name = "jsonl"
    has_state = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.folder = directory / "folder"
        self.path = self.folder / "parts.jsonl"

    def settings(self) -> Dict[str, Any]:
        return {"type": "jsonl", "path": str(self.path)}

    def start(self) -> None:
        self.folder.mkdir()

    def stop(self) -> None:
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def lines(self) -> List[Dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def applied(self) -> int:
        return len(self.lines())


PEERS = (ChipPeer, PlcPeer, HandshakePeer, OpcUaPeer, BrokerPeer, HookPeer, NucleusPeer, FilePeer)


@contextlib.contextmanager
def put_up(kind: Any, directory: Path) -> Iterator[Any]:
    made = kind(directory)
    made.start()
    try:
        yield made
    finally:
        made.close()
