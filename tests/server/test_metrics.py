"""The server's figures, read as Prometheus reads them, against what was done and what docs/metrics.md says."""

from __future__ import annotations

import re
import time
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from server.conftest import TIMEOUT, Client, byte_request
from support.packages import make_package

from edge_agent.server import ModelServer, ServerMetrics
from edge_agent.server.turns import MAX_WAITING
from edge_agent.web import Exposition, add_process_figures
from edge_agent.wire import edge_agent_pb2 as wire

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
GREY = np.full((240, 320, 3), 128, np.uint8)


class Figures:
    """One reading of /metrics."""

    def __init__(self, address: str) -> None:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=TIMEOUT) as answer:
            self.families = list(text_string_to_metric_families(answer.read().decode()))

    def of(self, name: str, **labels: str) -> float:
        """The sum of the samples of a name that have these labels."""
        samples = [sample for family in self.families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def state(self, model: str) -> str:
        samples = [s for family in self.families for s in family.samples if s.name == "edge_agent_server_model_state"]
        [state] = [s.labels["state"] for s in samples if s.labels["model"] == model and s.value == 1]
        return str(state)


Read = Callable[[], Figures]


@pytest.fixture
def server(models: Path, socket_path: str) -> Iterator[ModelServer]:
    """In place of the one that nobody watches."""
    metrics = ServerMetrics()
    made = ModelServer(models, socket_path, observer=metrics)
    metrics.watch(made)
    add_process_figures(metrics.registry)
    made.metrics = metrics  # type: ignore[attr-defined] # for `read`
    made.start()
    yield made
    made.stop(5)


@pytest.fixture
def read(server: Any) -> Iterator[Read]:
    exposition = Exposition(
        "127.0.0.1:0", server.metrics.registry, health=server.why_not_healthy, ready=server.why_not_ready
    )
    exposition.open()
    yield lambda: Figures(exposition.address)
    exposition.close()


def test_every_call_is_counted_once_under_its_code(
    models: Path, client: Client, read: Read, segment: Any, refused: Any
) -> None:
    make_package(models / "idle")
    client.start_and_wait("bolts")
    for _ in range(3):
        client.detect("bolts", GREY)
    with refused("NOT_FOUND"):
        client.detect("nuts", GREY)
    with refused("FAILED_PRECONDITION"):
        client.detect("idle", GREY)
    with refused("INVALID_ARGUMENT"):
        client.channel.unary_unary("/AWS.LookoutVision.EdgeAgent/DetectAnomalies")(b"\xff", timeout=TIMEOUT)
    image, mask = segment(GREY.nbytes), segment(GREY.nbytes)
    image.write(GREY.tobytes())
    request = wire.DetectAnomaliesRequest(model_component="bolts")
    request.bitmap.width, request.bitmap.height = 320, 240
    for place, one in ((request.bitmap, image), (request.anomaly_mask_params, mask)):
        place.shared_memory_handle.name, place.shared_memory_handle.size = one.name, GREY.nbytes
    client.send(request)
    figures = read()
    counted = {
        code: figures.of("edge_agent_server_calls_total", method="DetectAnomalies", code=code)
        for code in ("OK", "NOT_FOUND", "FAILED_PRECONDITION", "INVALID_ARGUMENT")
    }
    assert counted == {"OK": 4, "NOT_FOUND": 1, "FAILED_PRECONDITION": 1, "INVALID_ARGUMENT": 1}
    assert figures.of("edge_agent_server_calls_total", method="DetectAnomalies") == 7
    assert figures.of("edge_agent_server_call_seconds_count", method="DetectAnomalies") == 7
    assert figures.of("edge_agent_server_calls_total", method="StartModel", code="OK") == 1
    assert figures.of("edge_agent_server_calls_in_flight") == 0
    assert figures.of("edge_agent_server_queue_length") == 0
    for stage in ("wait", "preprocess", "inference", "postprocess"):
        assert figures.of("edge_agent_server_stage_seconds_count", model="bolts", stage=stage) == 4
    stages = figures.of("edge_agent_server_stage_seconds_sum")
    assert 0 < stages < figures.of("edge_agent_server_call_seconds_sum", method="DetectAnomalies")
    for access in ("read", "write"):
        assert figures.of("edge_agent_server_shared_memory_segments", access=access) == 1
        assert figures.of("edge_agent_server_shared_memory_bytes", access=access) == GREY.nbytes


def test_states_and_loads(models: Path, client: Client, read: Read) -> None:
    make_package(models / "torn")
    (models / "torn" / "mochi" / "model.onnx").write_bytes(b"")
    assert [read().state(name) for name in ("bolts", "torn")] == ["STOPPED", "STOPPED"]
    client.start_and_wait("bolts")
    for _ in range(2):
        client.start_and_wait("torn", wire.FAILED)
    figures = read()
    assert [figures.state(name) for name in ("bolts", "torn")] == ["RUNNING", "FAILED"]
    loads = {
        (name, result): figures.of("edge_agent_server_model_loads_total", model=name, result=result)
        for name in ("bolts", "torn")
        for result in ("loaded", "failed")
    }
    assert loads == {
        ("bolts", "loaded"): 1,
        ("bolts", "failed"): 0,
        ("torn", "loaded"): 0,
        ("torn", "failed"): 2,
    }
    arn = "arn:aws:lookoutvision:::model/bolts/2.0.0"
    assert figures.of("edge_agent_server_model_info", model="bolts", arn=arn) == 1
    assert figures.of("edge_agent_server_model_engines", model="bolts") == 1


def test_calls_that_wait_are_the_queue(models: Path, client: Client, read: Read) -> None:
    make_package(models / "slow", size=(256, 256), work=20)
    client.start_and_wait("slow")
    calls = [client.stub.DetectAnomalies.future(byte_request("slow", GREY)) for _ in range(1 + MAX_WAITING)]
    queue = in_flight = 0.0
    while queue < 2:
        assert not calls[-1].done(), "no reading ever showed a queue"
        figures = read()
        queue = figures.of("edge_agent_server_queue_length", model="slow")
        in_flight = figures.of("edge_agent_server_calls_in_flight", method="DetectAnomalies")
    # The two are read one after the other, and calls end meanwhile.
    assert queue <= MAX_WAITING
    assert 1 <= in_flight <= 1 + MAX_WAITING
    for call in calls:
        call.result(timeout=60)
    figures = read()
    assert figures.of("edge_agent_server_queue_length") == 0
    waited = figures.of("edge_agent_server_stage_seconds_sum", model="slow", stage="wait")
    assert waited > figures.of("edge_agent_server_stage_seconds_sum", model="slow", stage="inference") / 4


def test_a_call_that_gave_up_waiting_leaves_the_queue(models: Path, client: Client, read: Read) -> None:
    make_package(models / "slow", size=(256, 256), work=20)
    client.start_and_wait("slow")
    first = client.stub.DetectAnomalies.future(byte_request("slow", GREY))
    with pytest.raises(grpc.RpcError):
        client.detect("slow", GREY, timeout=0.02)
    first.result(timeout=60)
    deadline = time.monotonic() + TIMEOUT
    while read().of("edge_agent_server_calls_in_flight"):
        assert time.monotonic() < deadline
    assert read().of("edge_agent_server_queue_length") == 0


def _documented() -> Set[Tuple[str, str, Tuple[str, ...]]]:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| ([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    return {(name, kind, tuple(sorted(re.findall(r"`(\w+)`", labels)))) for name, kind, labels in rows}


def _exported(figures: Figures) -> Set[Tuple[str, str, Tuple[str, ...]]]:
    found: Set[Tuple[str, str, Tuple[str, ...]]] = set()
    for family in figures.families:
        if family.name.endswith("_created"):
            continue
        labels: List[Dict[str, str]] = [sample.labels for sample in family.samples]
        assert labels, f"{family.name} has no sample"
        [names] = {tuple(sorted(set(one) - {"le"})) for one in labels}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.add((name, family.type, names))
    return found


def test_the_page_names_what_is_exported_and_nothing_else(client: Client, read: Read) -> None:
    client.start_and_wait("bolts")
    client.detect("bolts", GREY)
    exported = _exported(read())
    documented = _documented()
    if not Path("/proc/self/smaps_rollup").exists():
        documented = {row for row in documented if row[0] != "edge_agent_process_pss_bytes"}
    assert exported == documented
    units = (
        "_total",
        "_seconds",
        "_bytes",
        "_in_flight",
        "_length",
        "_state",
        "_engines",
        "_info",
        "_segments",
        "_fds",
    )
    assert [name for name, _, _ in documented if not name.endswith(units)] == []


def test_the_page_names_the_buckets(client: Client, read: Read) -> None:
    text = next(line for line in PAGE.read_text().splitlines() if line.startswith("Buckets"))
    milliseconds, seconds = (re.findall(r"[0-9.]+(?=[,; ])", part) for part in text.split("ms;"))
    written = [float(value) / 1e3 for value in milliseconds] + [float(value) for value in seconds]
    [family] = [family for family in read().families if family.name == "edge_agent_server_call_seconds"]
    bounds = {sample.labels["le"] for sample in family.samples if "le" in sample.labels}
    assert sorted(float(bound) for bound in bounds) == [*written, float("inf")]


def test_two_servers_in_one_process_count_apart(tmp_path: Path) -> None:
    first, second = ServerMetrics(), ServerMetrics()
    first.call("ListModels").ends("OK")
    value = "edge_agent_server_calls_total", {"method": "ListModels", "code": "OK"}
    assert first.registry.get_sample_value(*value) == 1
    assert second.registry.get_sample_value(*value) == 0


def test_a_watched_server_is_ready_between_its_start_and_its_stop(models: Path, socket_path: str) -> None:
    server = ModelServer(models, socket_path)
    assert server.why_not_ready() == "the server is starting"
    server.start()
    assert (server.why_not_ready(), server.why_not_healthy()) == ("", "")
    server.stop(5)
    assert (server.why_not_ready(), server.why_not_healthy()) == ("the server is stopping", "")
