"""What monitoring sees of a running inspector: over HTTP, and as messages for CloudWatch."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.plant import MODEL, THING, Plant
from support.s3_loopback import S3, serve_s3
from support.waiting import until

from edge_agent.agent import read_settings, talk_settings
from edge_agent.agent.figures.catalogue import CATALOGUE
from edge_agent.agent.talk import cloudwatch as cloudwatch_module
from edge_agent.agent.talk.cloudwatch import CloudwatchMetrics, encode
from edge_agent.agent.talk_settings import CloudwatchSettings
from edge_agent.errors import ConfigError
from edge_agent.figures import Definition, Figure, HistogramReading
from edge_agent.greengrass.ipc import IpcClient

PREFIX = "edge_agent_inspector_"
AWS = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-central-1"}


@pytest.fixture(params=["classic"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Monitor:
    """Prometheus, with the token."""

    def __init__(self, plant: Plant) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.token_file = plant.root / "http.token"
        self.settings = {"address": f"127.0.0.1:{self.port}", "token_file": str(self.token_file)}

    def get(self, path: str, method: str = "GET") -> Tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {self.token_file.read_text().strip()}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def serves(self) -> bool:
        try:
            return bool(self.get("/health")[0])
        except OSError:
            return False

    def samples(self) -> Dict[Tuple[str, Tuple[Tuple[str, str], ...]], float]:
        status, text = self.get("/metrics")
        assert status == 200
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def of(self, name: str, **labels: str) -> float:
        """The sum of the samples of a figure that have these labels."""
        return sum(
            value
            for (found, has), value in self.samples().items()
            if found == PREFIX + name and labels.items() <= dict(has).items()
        )


@pytest.fixture
def monitor(plant: Plant) -> Monitor:
    return Monitor(plant)


def _balanced(samples: Dict[Any, float], lane: str) -> bool:
    def of(name: str) -> float:
        return sum(v for (found, has), v in samples.items() if found == PREFIX + name and ("lane", lane) in has)

    lost = of("frames_dropped_total") + of("frames_failed_total")
    settled = of("inspections_delivered_total") + of("inspections_spooled") + of("inspections_expired_total")
    return (
        of("frames_captured_total") == of("frames_in_flight") + of("frames_inspected_total") + lost
        and of("inspections_carried_total") + of("frames_inspected_total") == settled
    )


def test_an_upload_that_somebody_has_to_mend_is_told(
    plant: Plant, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = {"path": str(plant.root / "recorded"), "every": 1, "free_bytes": 0, "upload": {"bucket": "other"}}
    plant.configure(plant.configuration({"a": plant.lane("a")}, http=monitor.settings, recorder=recorder))
    s3 = S3("parts")
    with serve_s3(s3) as address:
        for name, value in {**AWS, "AWS_ENDPOINT_URL_S3": address}.items():
            monkeypatch.setenv(name, value)
        inspector = plant.start()
        until(monitor.serves)
        plant.give("a")
        until(lambda: "recorder: upload: s3://other: The specified bucket" in monitor.get("/ready")[1])
        assert monitor.get("/ready")[0] == 503
        assert monitor.get("/health")[0] == 200
        assert inspector.report()["recorder"]["state"] == "working"
        until(lambda: any(message["recorder"]["upload"]["state"] == "trouble" for message in plant.messages("health")))
        plant.configure({"recorder": {"upload": {"bucket": "parts"}}})
        until(lambda: inspector.settings.recorder.upload.bucket == "parts")
        until(lambda: len(s3.put) == 3)
        until(lambda: monitor.get("/ready")[0] == 200)
        assert all(key.startswith(f"edge-agent/{THING}/") for key in s3.put)
        assert monitor.of("recorder_upload_uploaded_total", lane="a") == 1
        assert monitor.of("recorder_upload_lost_total", lane="a", cause="left") == 1


def test_every_figure_is_exported_and_the_books_are_balanced_at_each_reading(
    plant: Plant, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"to": {"type": "jsonl", "path": str(plant.root / "parts.jsonl")}}
    # Nobody is there: what is recorded waits for its upload.
    for name, value in {**AWS, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    upload = {"bucket": "parts"}
    recorder = {"path": str(plant.root / "recorded"), "every": 2, "free_bytes": 0, "queue": 100, "upload": upload}
    lanes = {"a": plant.lane("a"), "b": plant.lane("b", trigger={"type": "message", "source": "http"})}
    plant.configure(plant.configuration(lanes, http=monitor.settings, outputs={"record": record}, recorder=recorder))
    inspector = plant.start()
    until(monitor.serves)
    plant.give("a", 30)
    (plant.root / "a" / "torn.png").write_bytes(b"no picture")
    plant.give("b")
    until(lambda: inspector.lane("b").status()["camera"] == "live")
    assert monitor.get("/lanes/b/trigger", "POST")[0] == 202
    while inspector.accounting()["a"].inspected < 30:
        assert _balanced(monitor.samples(), "a")
    until(lambda: monitor.of("frames_failed_total", lane="a", cause="image") == 1)
    until(lambda: monitor.of("inspections_delivered_total") == 31)
    # With the torn one, which is told as a part without a verdict.
    until(lambda: monitor.of("output_applied_total", output="record") == 32)
    samples = monitor.samples()
    assert _balanced(samples, "a")
    assert _balanced(samples, "b")
    value = {name: monitor.of(name, lane="a") for name in ("frames_captured_total", "stage_seconds_count")}
    assert value == {"frames_captured_total": 31, "stage_seconds_count": 4 * 30}
    assert (
        0
        < monitor.of("stage_seconds_sum", lane="a", stage="detect")
        < monitor.of("stage_seconds_sum", lane="a", stage="total")
    )
    assert monitor.of("verdicts_total", lane="a") == 30
    assert monitor.of("model_info", lane="a", model=MODEL, version="3.1.4") == 1
    assert monitor.of("lane_state", lane="a", state="running") == monitor.of("lane_state", lane="a") == 1
    assert monitor.of("camera_state", lane="a", state="live") == 1
    assert monitor.of("output_state", output="record", state="working") == 1
    assert monitor.of("triggers_taken_total", lane="b") == 1
    until(lambda: monitor.of("recorder_kept", lane="a") == monitor.of("recorder_recorded_total", lane="a") == 15)
    assert monitor.of("recorder_state", state="working") == 1
    until(lambda: monitor.of("recorder_upload_wanted_total") == monitor.of("recorder_upload_waiting", lane="a") == 15)
    assert monitor.of("info", thing=THING) == 1
    # What no sample is there of without a cause: a camera's transport, commands and messages of which none came.
    seen = {name for name, _ in samples}
    silent = {"camera_transport", "anomalies", "commands", "unsent"}
    for name, definition in CATALOGUE.items():
        ending = {"counter": "_total", "gauge": "", "histogram": "_bucket"}[definition.kind]
        assert (name + ending in seen) == (name[len(PREFIX) :] not in silent), name
    assert {name for name in seen if name.startswith(PREFIX)} <= {
        name + ending for name in CATALOGUE for ending in ("", "_total", "_bucket", "_sum", "_count")
    }


def test_probes_say_what_is_missing(plant: Plant, monitor: Monitor) -> None:
    plc = {"to": {"type": "modbus", "host": "127.0.0.1", "port": 1, "coil": 1}}
    lanes = {"a": plant.lane("a"), "b": plant.lane("b", model="com.example.None")}
    plant.configure(plant.configuration(lanes, http=monitor.settings, outputs={"plc": plc}))
    inspector = plant.start()
    until(monitor.serves)
    (plant.root / "a").rename(plant.root / "away")
    plant.give("b")
    until(lambda: inspector.lane("a").status()["camera"] == "gone")
    until(lambda: inspector.lane("b").status()["model_trouble"])
    until(lambda: "output plc: broken" in monitor.get("/ready")[1])
    status, text = monitor.get("/ready")
    assert status == 503
    for reason in ("lane a: camera: gone", "lane b: model: com.example.None", "output plc: broken"):
        assert reason in json.loads(text)["status"]
    assert monitor.get("/health") == (200, '{"status": "ok"}\n')
    assert (monitor.of("model_answers", lane="b"), monitor.of("model_answers", lane="a")) == (0, 1)
    assert monitor.of("output_breaker_opened_total", output="plc") >= 1
    inspector.lane("b").pause()
    (plant.root / "away").rename(plant.root / "a")
    inspector.apply(msgspec.structs.replace(inspector.settings, outputs={}))
    until(lambda: monitor.get("/ready") == (200, '{"status": "ok"}\n'))
    assert monitor.of("lane_state", lane="b", state="paused") == 1


def test_a_fault_of_ours_is_no_health(plant: Plant, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.configure(plant.configuration({"a": plant.lane("a"), "b": plant.lane("b")}, http=monitor.settings))
    inspector = plant.start()
    until(monitor.serves)

    def fail(_inspection: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(inspector._observations.of("a"), "note", fail)
    plant.give("a")
    plant.give("b")
    until(lambda: monitor.get("/health")[0] == 503)
    assert monitor.get("/health")[1] == '{"status": "stopped by an internal error: lane a"}\n'
    assert monitor.get("/ready")[0] == 503
    until(lambda: monitor.of("frames_inspected_total", lane="b") == 1)
    assert monitor.of("lane_state", lane="a", state="faulty") == 1
    plant.finish()
    assert not plant.well


def test_without_prometheus_client_the_other_pages_work(
    plant: Plant, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    plant.configure(plant.configuration({"a": plant.lane("a")}, http=monitor.settings))
    plant.start()
    until(monitor.serves)
    assert monitor.get("/health")[0] == 200
    status, text = monitor.get("/metrics")
    assert (status, "pip install 'edge-agent[metrics]'" in text) == (501, True)
    assert monitor.get("/health", "POST")[0] == 405


class CloudwatchComponent:
    """aws.greengrass.Cloudwatch as far as its topic goes."""

    def __init__(self, plant: Plant) -> None:
        self._client = IpcClient.connect()
        self.metrics: "queue.Queue[Dict[str, Any]]" = queue.Queue()
        plant.nucleus.configure(
            {
                "accessControl": {
                    "aws.greengrass.ipc.pubsub": {
                        "test:cloudwatch": {
                            "operations": ["aws.greengrass#SubscribeToTopic"],
                            "resources": ["cloudwatch/metric/put"],
                        }
                    }
                }
            }
        )
        self._client.subscribe_to_topic("cloudwatch/metric/put", self._heard)

    def _heard(self, _topic: str, payload: bytes) -> None:
        self.metrics.put(json.loads(payload))

    def sums(self) -> Dict[Tuple[str, ...], float]:
        """Of all values so far, by name and dimensions."""
        found: Dict[Tuple[str, ...], float] = {}
        for message in list(self.metrics.queue):
            metric = message["request"]["metricData"]
            key = (metric["metricName"][len(PREFIX) :], *(one["value"] for one in metric["dimensions"]))
            found[key] = found.get(key, 0) + metric["value"]
        return found

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def component(plant: Plant) -> Iterator[CloudwatchComponent]:
    made = CloudwatchComponent(plant)
    yield made
    made.close()


@pytest.mark.parametrize("mode", ["classic", "lite"], indirect=True)
def test_cloudwatch_gets_the_same_figures(
    plant: Plant, component: CloudwatchComponent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read every ten seconds at the most often; here, with every tick."""
    monkeypatch.setattr(talk_settings, "_MIN_FIGURES_S", 0)
    monkeypatch.setattr(cloudwatch_module, "AT_ONCE", 16)
    names = [PREFIX + name for name in ("frames_inspected", "verdicts", "stage_seconds", "lane_state", "spool_bytes")]
    settings = {"every_s": 0.01, "namespace": "Line", "names": names}
    plant.configure(plant.configuration({"a": plant.lane("a")}, cloudwatch=settings))
    inspector = plant.start()
    plant.give("a", 3)
    until(lambda: component.sums().get(("frames_inspected", "a")) == 3)
    plant.give("a", 4)
    until(lambda: component.sums().get(("frames_inspected", "a")) == 7)
    until(lambda: component.sums().get(("verdicts", "a", "normal")) == 7)
    inspector.lane("a").pause()
    until(lambda: component.sums().get(("lane_state", "a", "paused")))
    messages = list(component.metrics.queue)
    assert {message["request"]["namespace"] for message in messages} == {"Line"}
    units = {
        message["request"]["metricData"]["metricName"][len(PREFIX) :]: message["request"]["metricData"]["unit"]
        for message in messages
    }
    assert units == {
        "frames_inspected": "Count",
        "verdicts": "Count",
        "stage_seconds": "Seconds",
        "lane_state": "None",
        "spool_bytes": "Bytes",
    }
    stages = [value for key, value in component.sums().items() if key[0] == "stage_seconds"]
    assert len(stages) == 4
    assert all(0 <= value < 60 for value in stages)


class _Outbox:
    """Takes what is put; says how it ended when it is told to."""

    def __init__(self) -> None:
        self.waiting: List[Callable[[Any], None]] = []
        self.sent: List[Dict[str, Any]] = []
        self.room = 100

    def put(self, _name: str, send: Any, *, size: int, keep_s: float, done: Callable[[Any], None]) -> bool:
        if len(self.waiting) >= self.room:
            return False
        taken: List[bytes] = []

        class Client:
            def publish_to_topic(self, _topic: str, message: bytes) -> None:
                taken.append(message)

        send(Client())
        assert len(taken[0]) == size
        self.sent.append(json.loads(taken[0])["request"]["metricData"])
        self.waiting.append(done)
        return True

    def settle(self, error: Any = None) -> List[float]:
        values = [metric["value"] for metric in self.sent]
        for done in self.waiting:
            done(error)
        self.waiting, self.sent = [], []
        return values


class _Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return 1_700_000_000_500_000_000


class Teller:
    """CloudwatchMetrics over an outbox and a clock of the test's, with one figure."""

    def __init__(self, figure: Definition, **settings: Any) -> None:
        self.value: Any = 0
        self._definition = figure
        self._clock = _Clock()
        self.outbox = _Outbox()
        self._metrics = CloudwatchMetrics(self._read, self.outbox, self._clock)  # type: ignore[arg-type]
        self._metrics.configure(CloudwatchSettings(every_s=10, **settings))

    def _read(self) -> List[Figure]:
        figure = Figure(self._definition)
        for number, value in enumerate(self.value if isinstance(self.value, list) else [self.value]):
            figure.add(value, str(number))
        return [figure]

    def tell(self, value: Any, error: Any = None) -> List[float]:
        """The values of the messages of one reading."""
        self.value = value
        self._clock.now_ns += 10_000_000_000
        self._metrics.tick()
        return self.outbox.settle(error)

    def tick(self) -> None:
        self._metrics.tick()


def _definition(kind: Any, unit: Any = "count") -> Definition:
    return Definition("figure", kind, unit, ("number",), "A figure.")


def test_a_counter_is_told_as_its_rise_and_nothing_is_lost_on_the_way() -> None:
    teller = Teller(_definition("counter"))
    assert teller.tell(0) == []
    assert teller.tell(5) == [5]
    assert teller.tell(5) == []
    assert teller.tell(7, error=OSError()) == [2]
    assert teller.tell(9) == [4]
    assert teller.tell(3) == [3]  # begun anew


def test_a_histogram_is_told_as_the_mean_since_then() -> None:
    teller = Teller(_definition("histogram", "seconds"))
    assert teller.tell(HistogramReading((1.0,), (0, 0), 0.0)) == []
    assert teller.tell(HistogramReading((1.0,), (2, 0), 1.0)) == [0.5]
    assert teller.tell(HistogramReading((1.0,), (2, 0), 1.0)) == []
    assert teller.tell(HistogramReading((1.0,), (2, 2), 9.0)) == [4.0]


def test_a_state_is_told_while_it_holds_and_once_when_it_is_over() -> None:
    teller = Teller(_definition("gauge", "state"))
    assert [teller.tell(value) for value in (0.0, 1.0, 1.0, 0.0, 0.0)] == [[], [1.0], [1.0], [0.0], []]
    plain = Teller(_definition("gauge"))
    assert [plain.tell(value) for value in (0, 3, 3)] == [[0], [3], [3]]


def test_only_a_few_are_under_way_and_a_reading_is_told_whole() -> None:
    teller = Teller(_definition("gauge"))
    told = teller.tell(list(range(10)))
    assert len(told) == cloudwatch_module.AT_ONCE
    while True:
        teller.tick()
        values = teller.outbox.settle()
        if not values:
            break
        told += values
    assert told == list(range(10))
    teller.outbox.room = 1
    assert teller.tell([1, 2, 3]) == [1]
    assert teller.tell([4, 5, 6]) == [4]


def test_a_message_is_as_the_component_takes_it() -> None:
    definition = Definition("figure", "gauge", "bytes", ("class", "lane"), "A figure.")
    message = encode(definition, ("Ölfleck", ""), 1.5, "Line", 1_700_000_000_500_000_000)
    assert json.loads(message) == {
        "request": {
            "namespace": "Line",
            "metricData": {
                "metricName": "figure",
                "dimensions": [{"name": "class", "value": "?lfleck"}, {"name": "lane", "value": "-"}],
                "timestamp": 1_700_000_000.5,
                "value": 1.5,
                "unit": "Bytes",
            },
        }
    }


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"every_s": 1}, "`every_s` must be 10 to 86400, or 0 for none"),
        ({"namespace": "AWS/Line"}, "`namespace` must be 1 to 255 letters"),
        ({"namespace": ":x"}, "`namespace` must be 1 to 255 letters"),
        ({"names": ["figure"]}, "`names`: there is no figure figure"),
        ({"topic": "edge-agent/press-7/commands"}, "is the topic of cloudwatch.topic, too"),
    ],
)
def test_what_cannot_be_is_refused(settings: Dict[str, Any], reason: str, tmp_path: Path) -> None:
    lanes = {"a": {"model": "m", "camera": {"type": "folder", "path": str(tmp_path)}}}
    with pytest.raises(ConfigError) as caught:
        read_settings({"lanes": lanes, "cloudwatch": settings}, "file", thing=THING)
    assert reason in str(caught.value)
