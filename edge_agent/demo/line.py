"""A line that makes parts: renders them into a folder at a given rate and collects the verdicts on them."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from PIL import Image

from edge_agent import sample
from edge_agent.clock import SystemClock
from edge_agent.demo.plc import PlcStation
from edge_agent.demo.processes import Process
from edge_agent.detector import EdgeAgentClient, ModelSession
from edge_agent.errors import EdgeAgentError
from edge_agent.inspection import inspections_in

CAMERA = "line-1"
TOPIC = "edge-agent/demo/inspections"

_READY_S = 60.0
# The longest silence before the demo gives up; a model that starts on a busy machine takes a while.
_SILENCE_S = 60.0
_LOOK_S = 0.01

_PAGE = re.compile(r"live page and figures on (https?://\S+/)")


@dataclass(frozen=True)
class Verdict:
    """One published inspection beside the truth about its part.

    Attributes:
        message: the published JSON.
        truth: whether the part is anomalous.
        latency_ms: from capture until the nucleus had it, on this machine's wall clock.
    """

    message: Dict[str, Any]
    truth: bool
    latency_ms: float

    @property
    def agrees(self) -> bool:
        return bool(self.message["is_anomalous"]) == self.truth


class DemoLine:
    """The processes, the folder that their camera watches, and the parts in it.

    Args:
        directory: for images, record, configuration and logs.
        sockets: for the two sockets, whose paths may not be longer than 107 bytes.
        seed: of the parts.
        plc: whether a PLC triggers the inspector and sorts the parts.
    """

    def __init__(self, directory: Path, sockets: Path, seed: int, *, plc: bool = False) -> None:
        self._directory = directory
        self._images = directory / "images"
        self._record = directory / "record.jsonl"
        self._server_socket = sockets / "edge-agent.sock"
        self._nucleus_socket = sockets / "nucleus.sock"
        self._recorder: Dict[str, Any] = {}
        self._parts = sample.part_stream(seed)
        self._truth: Dict[str, bool] = {}
        self._token_file = sockets / "page-token"
        #: Where the live page is, with what signs a browser in; empty before `start`.
        self.page = ""
        self._processes: List[Process] = []
        self._plc = PlcStation(CAMERA) if plc else None

    def record(self) -> None:
        """Have the inspector, when it is started, keep each part as it saw it, in `recorded`."""
        self._recorder = {
            "path": str(self._directory / "recorded"),
            "rules": {"all": {}},
            "free_bytes": 0,
            "queue": 100,
        }

    def start(self) -> None:
        """Start server, nucleus and inspector.

        Raises:
            EdgeAgentError: one of them ended or did not become ready.
        """
        self._images.mkdir(parents=True, exist_ok=True)
        if self._record.exists() or any(self._images.iterdir()):
            raise EdgeAgentError(str(self._directory), "holds an earlier demo", "Name an empty folder.")
        if self._plc is not None:
            self._plc.start()
        configuration = self._directory / "inspector.json"
        configuration.write_text(json.dumps({**self._configuration(), "recorder": self._recorder}, indent=2))
        token = os.urandom(16).hex()
        component = {
            "SVCUID": token,
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(self._nucleus_socket),
            "AWS_IOT_THING_NAME": "demo",
        }
        models = str(sample.models_directory())
        server = self._launch("server", ["serve", "--models", models, "--socket", str(self._server_socket)], {})
        nucleus = self._launch(
            "nucleus",
            ["nucleus", "--socket", str(self._nucleus_socket), "--record", str(self._record), "--thing", "demo"],
            {"SVCUID": token},
        )
        server.wait_for(self._server_socket, _READY_S)
        nucleus.wait_for(self._nucleus_socket, _READY_S)
        self._start_model()
        inspector = self._launch("inspector", ["run", "--config", str(configuration)], component)
        address = inspector.wait_for_word(_PAGE, _READY_S)
        self.page = f"{address}login#{self._token_file.read_text().strip()}"

    def run(self, frames: int, rate: float) -> Iterator[Verdict]:
        """Make `frames` parts, `rate` a second, and give each verdict when it is published.

        Raises:
            EdgeAgentError: a process ended, or no verdict came for a minute.
        """
        started = last = time.monotonic()
        made = given = 0
        with contextlib.closing(_Tail(self._record, self)) as tail:
            while given < frames:
                while made < frames and time.monotonic() >= started + made / rate:
                    made += 1
                    self._make_part(made)
                for verdict in tail.new():
                    given += 1
                    last = time.monotonic()
                    yield verdict
                for process in self._processes:
                    process.check()
                if made == frames and time.monotonic() - last > _SILENCE_S:
                    raise EdgeAgentError("demo", f"no verdict for {_SILENCE_S:g} s after {given} of {frames}")
                time.sleep(_LOOK_S)

    def stop(self) -> Dict[str, Any]:
        """Stop the inspector, then the others; what the inspector's accounting says, empty where it never started."""
        accounting: Dict[str, Any] = {}
        if self._plc is not None:
            self._plc.settle()
        while self._processes:
            process = self._processes.pop()
            process.stop()
            if process.name == "inspector":
                accounting = _last_accounting(process.output)
        if self._plc is not None:
            self._plc.stop()
        return accounting

    def plc(self) -> Dict[str, Any]:
        """What the PLC counted, where there is one."""
        return {} if self._plc is None else self._plc.books()

    def truth(self, source: str) -> bool:
        return self._truth[source]

    def _start_model(self) -> None:
        """Before the first part comes, so that its latency is a part's and not the model's start."""
        clock = SystemClock()
        client = EdgeAgentClient(str(self._server_socket))
        try:
            ModelSession(client, sample.MODEL_NAME, clock, start_timeout_s=_READY_S).ensure_running(threading.Event())
        finally:
            client.close()

    def _launch(self, name: str, arguments: List[str], environment: Dict[str, str]) -> Process:
        process = Process(name, arguments, self._directory, environment)
        self._processes.append(process)
        return process

    def _make_part(self, number: int) -> None:
        part = next(self._parts)
        name = f"part-{number:05d}.png"
        self._truth[name] = part.is_anomalous
        # Written under a name that the camera passes over, then moved in whole.
        hidden = self._images / f".{name}"
        Image.fromarray(part.image).save(hidden, "PNG", compress_level=1)
        hidden.rename(self._images / name)
        if self._plc is not None:
            self._plc.part(number)

    def _configuration(self) -> Dict[str, Any]:
        # The files come in whole, so there is nothing to wait for.
        camera = {"type": "folder", "path": str(self._images), "poll_s": 0.01, "settle_s": 0}
        lane: Dict[str, Any] = {"model": sample.MODEL_NAME, "camera": camera}
        outputs: Dict[str, Any] = {}
        if self._plc is not None:
            lane["trigger"] = {"type": "plc"}
            outputs["plc"] = self._plc.output()
        return {
            "socket": str(self._server_socket),
            # This nucleus is alone on this machine: no message has to wait for the pace of a shared one.
            "publish": {"topic": TOPIC, "messages_per_s": 100, "bytes_per_s": 512_000},
            "spool": {"path": str(self._directory / "spool")},
            "http": {"address": "127.0.0.1:0", "token_file": str(self._token_file)},
            "lanes": {CAMERA: lane},
            "outputs": outputs,
        }


class _Tail:
    """Reads what the nucleus appends to its record."""

    def __init__(self, path: Path, line: DemoLine) -> None:
        path.touch()
        self._file = path.open("rb")
        self._line = line
        self._rest = b""

    def close(self) -> None:
        self._file.close()

    def new(self) -> Iterator[Verdict]:
        *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
        for text in whole:
            entry = json.loads(text)
            for message in inspections_in(entry["payload"]):
                latency = _moment(entry["received_at"]) - _moment(message["captured_at"])
                yield Verdict(message, self._line.truth(message["image"]["source"]), latency.total_seconds() * 1000)


def _moment(text: str) -> dt.datetime:
    # Python before 3.11 does not read the Z.
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _last_accounting(output: Path) -> Dict[str, Any]:
    last: Optional[Dict[str, Any]] = None
    for text in output.read_text().splitlines():
        last = json.loads(text)["accounting"]
    return last[CAMERA] if last else {}
