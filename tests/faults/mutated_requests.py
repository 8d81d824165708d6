"""Mutated requests against a real server process: every one answered, with the code that the documentation gives it.

A good request is changed in one to three places, or its bytes are cut and flipped, or its segments are resized,
unlinked or re-created first. What the answer must be is worked out from docs/server.md alone (`faults.documented`).
Every tenth request is a good one, and must get the right verdict. Not done here: shrinking a segment while its own call
is computed, the documented limit of shared memory.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Set

import grpc
import numpy as np
import psutil
from support.packages import make_package

from edge_agent.wire import edge_agent_pb2 as wire
from faults.client_memory import HEIGHT, IMAGE_BYTES, MASK_BYTES, WIDTH, Segments
from faults.documented import MAX_MESSAGE_BYTES, REQUESTS, Documented
from faults.mutations import MUTATIONS, NAMES
from faults.outcome import Outcome

ANSWER_S = 5.0
_GOOD_EVERY = 10
_SERVICE = "/AWS.LookoutVision.EdgeAgent/"
# The server lets go of what was unlinked within five seconds.
_SWEEP_S = 10.0


def run(count: int, seed: int) -> Outcome:
    """Send `count` requests."""
    outcome = Outcome(count)
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        server = _Server(Path(scratch))
        try:
            with Segments() as segments:
                campaign = _Campaign(server, segments, random.Random(seed))
                campaign.run(count)
            holds = server.mapped_segments()
        finally:
            server.end()
    outcome.figures = {**campaign.figures(), "rss_mib": server.rss_mib, "descriptors": server.descriptors}
    outcome.bars = {
        "the same process is alive at the end, and its model RUNNING": campaign.alive,
        f"every request was answered within {ANSWER_S:g} s": campaign.hangs == 0,
        "every answer has the documented code": not campaign.wrong,
        "every good request got the right verdict": campaign.good_right == campaign.good,
        "no traceback in the server's log": "Traceback" not in server.log(),
        "the server let go of every vanished segment": holds == 0,
        "nothing is left in /dev/shm": not _in_shared_memory(server.pid),
    }
    return outcome


class _Server:
    """`edge-agent serve` with a model that runs and one that does not."""

    def __init__(self, scratch: Path) -> None:
        models = scratch / "models"
        models.mkdir()
        make_package(models / "bolts")
        make_package(models / "idle")
        self._log = scratch / "log"
        self._text = ""
        command = [sys.executable, "-m", "edge_agent", "serve", "--models", str(models)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--socket", str(scratch / "s"), "--threads", "1"], stdin=subprocess.DEVNULL, stderr=log
            )
        self._process_info = psutil.Process(self._process.pid)
        self.rss_mib: List[float] = []
        self.descriptors: List[int] = []
        self.channel = grpc.insecure_channel(
            f"unix:{scratch / 's'}", options=[("grpc.max_send_message_length", 2 * MAX_MESSAGE_BYTES)]
        )
        grpc.channel_ready_future(self.channel).result(timeout=60)
        self._start()
        self.measure()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def status(self) -> int:
        data = wire.DescribeModelRequest(model_component="bolts").SerializeToString()
        reply = self.channel.unary_unary(f"{_SERVICE}DescribeModel")(data, timeout=ANSWER_S)
        return int(wire.DescribeModelResponse.FromString(reply).model_description.status)

    def measure(self) -> None:
        self.rss_mib.append(round(self._process_info.memory_info().rss / 2**20, 1))
        self.descriptors.append(self._process_info.num_fds())

    def mapped_segments(self) -> int:
        """How many of our segments the server still maps when it has had time to let go."""
        deadline = time.monotonic() + _SWEEP_S
        while True:
            maps = Path(f"/proc/{self._process.pid}/maps").read_text() if self.is_alive else ""
            count = maps.count(f"/dev/shm/{Segments.PREFIX}")
            if count == 0 or time.monotonic() > deadline:
                return count
            time.sleep(0.2)

    def log(self) -> str:
        return self._text

    def end(self) -> None:
        self.channel.close()
        self._process.terminate()
        self._process.wait(30)
        self._text = self._log.read_text(errors="replace")

    def _start(self) -> None:
        data = wire.StartModelRequest(model_component="bolts").SerializeToString()
        self.channel.unary_unary(f"{_SERVICE}StartModel")(data, timeout=ANSWER_S)
        deadline = time.monotonic() + 60
        while self.status() != wire.RUNNING:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the model does not run; {self._log.read_text()}")
            time.sleep(0.02)


class _Call(NamedTuple):
    kind: str
    method: str
    data: bytes


class _Campaign:
    """Sends the requests and keeps count of the answers."""

    def __init__(self, server: _Server, segments: Segments, choices: random.Random) -> None:
        self._server = server
        self._segments = segments
        self._choices = choices
        self._documented = Documented(segments)
        self._kinds: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._slowest = 0.0
        self.good = self.good_right = self.hangs = 0
        self.wrong: List[str] = []
        self.alive = False

    def run(self, count: int) -> None:
        for index in range(count):
            self._segments.restore()
            if index % _GOOD_EVERY == 0:
                self._send_good()
            else:
                self._send_mutated()
            if not self._server.is_alive:
                return
        self._server.measure()
        self.alive = self._server.status() == wire.RUNNING

    def figures(self) -> Dict[str, Any]:
        return {
            "answers": dict(self._codes.most_common()),
            "mutations": dict(self._kinds.most_common()),
            "good_requests": self.good,
            "hangs": self.hangs,
            "slowest_s": round(self._slowest, 3),
            "wrong": self.wrong[:10],
        }

    def _send_good(self) -> None:
        self.good += 1
        anomalous = self._choices.random() < 0.5
        request = self._good_request("bolts", anomalous=anomalous)
        reply = self._send(_Call("none", "DetectAnomalies", request.SerializeToString()))
        if reply is not None:
            result = wire.DetectAnomaliesResponse.FromString(reply).detect_anomaly_result
            self.good_right += result.is_anomalous is anomalous

    def _send_mutated(self) -> None:
        draw = self._choices.random()
        if draw < 0.70:
            call = self._mutated()
        elif draw < 0.80:
            call = self._torn()
        elif draw < 0.99:
            call = self._other_method()
        else:
            size = self._choices.choice([MAX_MESSAGE_BYTES + 1, 1 << 20])
            call = _Call("large", "DetectAnomalies", b"\x12" + bytes(size - 1))
        self._send(call)

    def _mutated(self) -> _Call:
        request = self._good_request(self._choices.choice(["bolts"] * 9 + ["idle"]), anomalous=True)
        chosen = self._choices.sample(MUTATIONS, self._choices.choice([1, 1, 1, 2, 3]))
        for mutation in chosen:
            mutation(request, self._segments, self._choices)
        kind = chosen[0].__name__[1:] if len(chosen) == 1 else "several"
        return _Call(kind, "DetectAnomalies", request.SerializeToString())

    def _torn(self) -> _Call:
        """Bytes that are cut, flipped or made up."""
        request = self._good_request("bolts", anomalous=True)
        data = bytearray(request.SerializeToString())
        manner = self._choices.choice(["cut", "flipped", "made up"])
        if manner == "cut":
            # Near the ends, where the structure is, more often than amid the pixels.
            place = self._choices.choice([40, len(data)])
            del data[self._choices.randrange(min(place, len(data))) :]
        elif manner == "flipped":
            for _ in range(self._choices.randint(1, 8)):
                data[self._choices.randrange(min(60, len(data)))] ^= 1 << self._choices.randrange(8)
        else:
            data = bytearray(self._choices.getrandbits(8) for _ in range(self._choices.randrange(200)))
        return _Call(f"bytes {manner}", "DetectAnomalies", bytes(data))

    def _other_method(self) -> _Call:
        """The other calls, in a way that changes no model's state, and methods that do not exist."""
        if self._choices.random() < 0.2:
            strangers = ["", "Restart", "detectAnomalies", "DetectAnomalies/", "../StopModel", "x" * 2000]
            return _Call("unknown method", self._choices.choice(strangers), b"")
        method = self._choices.choice(["StartModel", "StopModel", "DescribeModel", "ListModels"])
        if method == "ListModels":
            return _Call(method, method, bytes(self._choices.getrandbits(8) for _ in range(self._choices.randrange(8))))
        unchanging = "bolts" if method == "StartModel" else "idle"
        request = REQUESTS[method](model_component=self._choice_of_name(unchanging))
        data = bytearray(request.SerializeToString())
        if data and self._choices.random() < 0.3:
            data[self._choices.randrange(min(len(data), 12))] ^= 1 << self._choices.randrange(8)
        return _Call(method, method, bytes(data))

    def _choice_of_name(self, good: str) -> str:
        return self._choices.choice([*NAMES, *[good] * 10])

    def _good_request(self, component: str, *, anomalous: bool) -> Any:
        """By bytes or by shared memory, with a place for the mask or without."""
        pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
        if anomalous:
            pixels[40:80, 40:120] = (230, 10, 10)
        request = wire.DetectAnomaliesRequest(model_component=component)
        request.bitmap.width, request.bitmap.height = WIDTH, HEIGHT
        if self._choices.random() < 0.3:
            request.bitmap.byte_data = pixels.tobytes()
        else:
            self._segments.write(pixels)
            request.bitmap.shared_memory_handle.name = self._segments.image
            request.bitmap.shared_memory_handle.size = IMAGE_BYTES
        if self._choices.random() < 0.5:
            request.anomaly_mask_params.shared_memory_handle.name = self._segments.mask
            request.anomaly_mask_params.shared_memory_handle.size = MASK_BYTES
        return request

    def _send(self, call: _Call) -> Optional[bytes]:
        """The reply's bytes, where there is one."""
        expected = self._documented.code(call.method, call.data)
        self._kinds[call.kind] += 1
        send = self._server.channel.unary_unary(f"{_SERVICE}{call.method}")
        began = time.monotonic()
        reply: Optional[bytes] = None
        try:
            reply = send(call.data, timeout=ANSWER_S)
            code, details = "OK", ""
        except grpc.RpcError as caught:
            error: Any = caught
            code, details = error.code().name, error.details()
        self._slowest = max(self._slowest, time.monotonic() - began)
        self._codes[code] += 1
        self.hangs += code == "DEADLINE_EXCEEDED"
        if code != expected:
            self.wrong.append(f"{call.kind}: {code}, not {expected}: {details[:200]} {call.data[:80]!r}")
        return reply


def _in_shared_memory(server: int) -> Set[str]:
    """What lies in /dev/shm and was made here or by the server process."""
    root = Path("/dev/shm")
    return {path.name for pattern in (f"{Segments.PREFIX}*", f"*-{server}-*") for path in root.glob(pattern)}
