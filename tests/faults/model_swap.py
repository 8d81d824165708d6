"""Packages are replaced under ten models that answer without pause; every fifth new package must not be served.

The stock server notices by its own looks, every five seconds. Directories, zips, Greengrass components and a compiled
model change at once, in one step or by a slow copy. Each version has an answer of its own (`faults.versions`), so an
answer tells who gave it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

import grpc
import psutil

from edge_agent.contract import VERSION_METADATA
from edge_agent.server.slot import NOT_SERVED
from edge_agent.shared_memory import create_segment
from edge_agent.wire import edge_agent_pb2 as wire
from edge_agent.wire import edge_agent_pb2_grpc
from faults.outcome import Outcome
from faults.versions import MASK_SIDES, RED, Place, number_in, number_of

DEADLINE_S = 10.0
_FORMS = ("directory", "zip", "component", "directory", "compiled", "zip", "component", "directory", "zip", "component")
_CALLERS = 4
_MASK_BYTES = MASK_SIDES[0] * MASK_SIDES[1] * 3
_SPOILED_EVERY = 5
_SLOW_EVERY = 7
_WARM_UP_S = 3.0
_PATIENCE_S = 60.0
#: The allocator keeps a little of what each version used; a version that stayed would show once for each swap.
_PSS_ALLOWANCE_MIB = 24.0
#: gRPC makes a thread when more calls than ever before happen to overlap; threads that stayed would be one a swap.
_THREAD_ALLOWANCE = 6


def run(count: int, seed: int) -> Outcome:
    """Deploy `count` new versions."""
    outcome = Outcome(count)
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        server = _Server(Path(scratch))
        callers = [_Caller(server, number, seed) for number in range(_CALLERS)]
        try:
            campaign = _Campaign(server, callers, random.Random(seed))
            before = campaign.rest(_WARM_UP_S)
            campaign.run(count)
            after = campaign.rest(_WARM_UP_S)
        finally:
            for caller in callers:
                caller.finish()
            server.end()
        left = sorted(path.name for path in server.temporary.iterdir())
        log = server.log()
    calls = Counter(sum((caller.answers for caller in callers), Counter()))
    failed = [failure for caller in callers for failure in caller.failures]
    wrong = [answer for caller in callers for answer in caller.wrong]
    times = sorted(seconds for caller in callers for seconds in caller.seconds)
    outcome.figures = {
        "swapped": len(campaign.swap_s),
        "refused": dict(campaign.refused),
        "calls": len(times),
        "versions_that_answered": len(calls),
        "failed": failed[:5],
        "wrong": wrong[:5],
        "call_ms": {"p50": _ms(times, 0.5), "p99": _ms(times, 0.99), "max": _ms(times, 1)},
        "swap_s": {
            "mean": round(sum(campaign.swap_s) / len(campaign.swap_s), 1),
            "max": round(max(campaign.swap_s), 1),
        },
        "before": before._asdict(),
        "after": after._asdict(),
        "missed": campaign.missed,
    }
    outcome.bars = {
        "no call failed": not failed,
        "every answer is of the version that its metadata name, and no caller saw one step back": not wrong,
        "no bad version ever answered": not set(calls) & campaign.bad,
        "every good version came to serve, and every bad one was refused with its reason": not campaign.missed,
        "one line in the log for each bad version, and no traceback": log.count(NOT_SERVED) == len(campaign.bad)
        and "Traceback" not in log,
        "no more threads, descriptors or processes": after.threads <= before.threads + _THREAD_ALLOWANCE
        and after.descriptors <= before.descriptors
        and after.processes <= before.processes,
        f"memory grew by no more than {_PSS_ALLOWANCE_MIB:g} MiB": after.pss_mib - before.pss_mib <= _PSS_ALLOWANCE_MIB,
        "nothing is left in the temporary directory or in /dev/shm": not left and not server.in_shared_memory(),
    }
    return outcome


class _Reading(NamedTuple):
    """What the server holds while no call is under way."""

    threads: int
    descriptors: int
    processes: int
    pss_mib: float


class _Server:
    """`edge-agent serve` with ten models of version 1.0.1, all of them running."""

    def __init__(self, scratch: Path) -> None:
        models, components = scratch / "models", scratch / "root" / "packages" / "artifacts-unarchived"
        self.temporary = scratch / "tmp"
        for directory in (models, components, self.temporary):
            directory.mkdir(parents=True)
        self.places = [
            Place(f"line-{number}", form, components if form == "component" else models)
            for number, form in enumerate(_FORMS)
        ]
        for place in self.places:
            place.deploy(1)
        self.address = f"unix:{scratch / 's'}"
        self._log = scratch / "log"
        command = [sys.executable, "-m", "edge_agent", "serve", "--models", str(models), "--socket", str(scratch / "s")]
        command += ["--greengrass", str(scratch / "root"), "--threads", "2", "--units", "line-0=2:2"]
        command += [f"--autostart={place.component}" for place in self.places]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=log, env={**os.environ, "TMPDIR": str(self.temporary)}
            )
        self._channel = grpc.insecure_channel(self.address)
        self._stub: Any = edge_agent_pb2_grpc.EdgeAgentStub(self._channel)
        grpc.channel_ready_future(self._channel).result(timeout=_PATIENCE_S)
        deadline = time.monotonic() + _PATIENCE_S
        while any(model.status != wire.RUNNING for model in self.models().values()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the models do not run; {self.log()}")
            time.sleep(0.05)

    def models(self) -> Dict[str, Any]:
        models = self._stub.ListModels(wire.ListModelsRequest(), timeout=DEADLINE_S).models
        return {model.model_component: model for model in models}

    def warm_up(self) -> None:
        """More calls at once than will come, so that gRPC has all the threads it will ever make."""
        futures = [self._stub.ListModels.future(wire.ListModelsRequest(), timeout=DEADLINE_S) for _ in range(16)]
        for future in futures:
            future.result()

    def read(self) -> _Reading:
        process = psutil.Process(self._process.pid)
        family = [process, *process.children(recursive=True)]
        pss = sum(one.memory_full_info().pss for one in family)
        return _Reading(process.num_threads(), process.num_fds(), len(family), round(pss / 2**20, 1))

    def in_shared_memory(self) -> List[str]:
        return [path.name for path in Path("/dev/shm").glob(f"*{self._process.pid}*")]

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self) -> None:
        self._channel.close()
        self._process.terminate()
        self._process.wait(60)


class _Caller(threading.Thread):
    """Calls the models in turn, without pause, by shared memory or by bytes, and judges each answer."""

    def __init__(self, server: _Server, number: int, seed: int) -> None:
        super().__init__(name=f"caller {number}", daemon=True)
        self.answers: Counter[Tuple[str, int]] = Counter()
        self.failures: List[str] = []
        self.wrong: List[str] = []
        self.seconds: List[float] = []
        self.resting = threading.Event()
        self.may_call = threading.Event()
        self._over = threading.Event()
        self._newest: Dict[str, int] = {}
        self._choices = random.Random(f"{seed} {number}")
        self._names = [place.component for place in server.places]
        self._address = server.address
        self._segment = create_segment(RED.nbytes + _MASK_BYTES) if number % 2 else None
        self.start()

    def run(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            stub: Any = edge_agent_pb2_grpc.EdgeAgentStub(channel)
            while not self._over.is_set():
                if not self.may_call.is_set():
                    self.resting.set()
                    self.may_call.wait(0.1)
                    continue
                self._call(stub, self._choices.choice(self._names))

    def finish(self) -> None:
        self._over.set()
        self.join(2 * DEADLINE_S)
        if self._segment is not None:
            self._segment.close()

    def _call(self, stub: Any, name: str) -> None:
        began = time.monotonic()
        try:
            reply, call = stub.DetectAnomalies.with_call(self._request(name), timeout=DEADLINE_S)
        except grpc.RpcError as error:
            self.failures.append(f"{name}: {error.code().name}: {error.details()}")
            return
        self.seconds.append(time.monotonic() - began)
        version = dict(call.trailing_metadata()).get(VERSION_METADATA)
        number = number_of(reply.detect_anomaly_result.anomaly_score)
        if number_in(version) != number or number < self._newest.get(name, 0):
            self.wrong.append(f"{name}: {number} by {version}, after {self._newest.get(name)}")
        self._newest[name] = number
        self.answers[name, number] += 1

    def _request(self, name: str) -> Any:
        request = wire.DetectAnomaliesRequest(model_component=name)
        request.bitmap.height, request.bitmap.width = RED.shape[:2]
        if self._segment is None:
            request.bitmap.byte_data = RED.tobytes()
            return request
        self._segment.pixels(0, *RED.shape[:2])[...] = RED
        image, mask = request.bitmap.shared_memory_handle, request.anomaly_mask_params.shared_memory_handle
        image.name = mask.name = self._segment.name
        image.size = mask.offset = RED.nbytes
        mask.size = _MASK_BYTES
        return request


class _Campaign:
    """Deploys in rounds, one new version for each model, and waits until each serves or is refused."""

    def __init__(self, server: _Server, callers: List[_Caller], choices: random.Random) -> None:
        self._server = server
        self._callers = callers
        self._choices = choices
        self._serving = {place.component: 1 for place in server.places}
        self._faults: Dict[str, Iterator[str]] = {}
        self.bad: Set[Tuple[str, int]] = set()
        self.refused: Counter[str] = Counter()
        self.swap_s: List[float] = []
        self.missed: List[str] = []

    def rest(self, seconds: float) -> _Reading:
        """Calls for so long, then a reading while there are none."""
        for caller in self._callers:
            caller.may_call.set()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._server.warm_up()
        for caller in self._callers:
            caller.resting.clear()
            caller.may_call.clear()
        for caller in self._callers:
            caller.resting.wait(2 * DEADLINE_S)
        return self._server.read()

    def run(self, count: int) -> None:
        for caller in self._callers:
            caller.may_call.set()
        places = self._server.places
        for first in range(0, count, len(places)):
            deployments = [
                self._deployment(place, first + index) for index, place in enumerate(places[: count - first])
            ]
            for deployment in deployments:
                deployment.start()
            for deployment in deployments:
                self._await(deployment)

    def _deployment(self, place: Place, index: int) -> _Deployment:
        """The fifths move on from round to round, so that each model has its share of them."""
        number, round_ = index + 2, index // len(self._server.places)
        fault = ""
        if (index + round_) % _SPOILED_EVERY == _SPOILED_EVERY - 1:
            faults = self._faults.setdefault(place.form, cycle(self._choices.sample(place.faults, len(place.faults))))
            fault = next(faults)
            self.bad.add((place.component, number))
        return _Deployment(place, number, fault, slowly=index % _SLOW_EVERY == 0)

    def _await(self, deployment: _Deployment) -> None:
        deployment.join()
        name, deadline = deployment.place.component, time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            model = self._server.models()[name]
            number = number_in(model.lookout_vision_model_arn.rsplit("/", 1)[1])
            if deployment.fault and model.status_message.startswith(NOT_SERVED) and number == self._serving[name]:
                self.refused[deployment.fault] += 1
                return
            if not deployment.fault and number == deployment.number and not model.status_message:
                self.swap_s.append(time.monotonic() - deployment.ended)
                self._serving[name] = number
                return
            time.sleep(0.05)
        self.missed.append(f"{name} ({deployment.place.form}): {deployment.number} {deployment.fault}: {model}")


class _Deployment(threading.Thread):
    def __init__(self, place: Place, number: int, fault: str, *, slowly: bool) -> None:
        super().__init__(name=f"deployment {number}", daemon=True)
        self.place, self.number, self.fault = place, number, fault
        self.ended = 0.0
        self._slowly = slowly

    def run(self) -> None:
        self.place.deploy(self.number, self.fault, slowly=self._slowly)
        self.ended = time.monotonic()


def _ms(seconds: List[float], part: float) -> Optional[float]:
    return round(seconds[min(len(seconds) - 1, int(part * len(seconds)))] * 1e3, 1) if seconds else None
