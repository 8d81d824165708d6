"""What was recorded goes to S3: every image once by its key, in order, whatever is between; and the books say so."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import numpy as np
import pytest
from recorder.conftest import SECOND_NS, START_NS, Impatient, Rig, until
from support.keys import openssl
from support.s3_loopback import S3, TokenExchange, serve_s3, serve_token_exchange

from edge_agent.recorder import RecorderSettings
from edge_agent.recorder.names import Kept
from edge_agent.recorder.retention import Retention
from edge_agent.recorder.upload import uploader
from edge_agent.recorder.upload.books import UploadBooks
from edge_agent.recorder.upload.queue import UploadQueue
from edge_agent.recorder.upload.settings import UploadSettings
from edge_agent.training.ground_truth import read_ground_truth
from edge_agent.training.locations import Locations

pytest.importorskip("boto3")

UPLOAD = {"bucket": "parts", "prefix": "press-7"}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}


def on_a_device(uri: str) -> Dict[str, str]:
    """What a nucleus gives a component that depends on the token exchange service."""
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "component-token"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Nothing of this machine's, and what a test says."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")

    def put(variables: Dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.fixture
def s3(environment: Callable[..., None]) -> Iterator[S3]:
    made = S3("parts")
    with serve_s3(made) as address:
        environment({**KEYS, "AWS_ENDPOINT_URL_S3": address})
        yield made


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "recorded", Impatient())
    yield made
    made.stop()


def upload_of(rig: Rig) -> Dict[str, Any]:
    return dict(rig.recorder.status()["upload"])


def books(rig: Rig, lane: str = "a") -> Dict[str, Any]:
    counts = dict(upload_of(rig)["lanes"].get(lane, {"waiting": 0}))
    assert counts.pop("balanced", True)
    return counts


def sent(rig: Rig, lane: str = "a") -> Dict[str, Any]:
    """The books when nothing waits any more."""
    rig.settled(lane)
    until(lambda: books(rig, lane)["waiting"] == 0)
    return books(rig, lane)


def numbers(s3: S3, bucket: str = "parts") -> List[int]:
    """Of the images whose line is there, in the order in which the lines came; whatever a line names is there, too."""
    objects, found = s3.buckets[bucket], []
    for key in dict.fromkeys(key for key in s3.put if key.endswith(".manifest")):
        line = json.loads(objects[key])
        for name in ("source-ref", "anomaly-mask-ref"):
            assert name not in line or objects[line[name][len(f"s3://{bucket}/") :]]
        found.append(json.loads(objects[key[: -len("manifest")] + "json"])["sequence"])
    return found


def _mask() -> Any:
    mask = np.full((64, 64, 3), 255, np.uint8)
    mask[:8, :8] = (255, 0, 0)
    return mask


def test_an_image_its_mask_its_sidecar_and_last_its_line(rig: Rig, s3: S3) -> None:
    rig.start(upload=UPLOAD)
    rig.give(7, anomalous=True, mask=_mask())
    counts = sent(rig)
    assert counts == {"found": 0, "wanted": 1, "uploaded": 1, "waiting": 0, "lost": {}}
    stem = "press-7/20261121/14/20261121T140537.000000Z_a_7"
    assert s3.put == [f"{stem}.png", f"{stem}.mask", f"{stem}.json", f"{stem}.manifest"]
    objects, local = s3.buckets["parts"], rig.path / "20261121/14/20261121T140537.000000Z_a_7"
    for suffix in (".png", ".mask", ".json"):
        assert objects[stem + suffix] == local.with_suffix(".000000Z_a_7" + suffix).read_bytes()
    [written] = rig.lines()
    assert json.loads(objects[f"{stem}.manifest"]) == {
        **written,
        "source-ref": f"s3://parts/{stem}.png",
        "anomaly-mask-ref": f"s3://parts/{stem}.mask",
    }
    assert (upload_of(rig)["state"], upload_of(rig)["trouble"], upload_of(rig)["failed"]) == ("working", None, 0)
    assert upload_of(rig)["bytes"] == sum(len(content) for content in objects.values())


def test_the_lines_in_the_bucket_are_a_manifest_to_train_with(rig: Rig, s3: S3, tmp_path: Path) -> None:
    s3.buckets["my-recorded-parts"] = {}
    rig.start(upload={"bucket": "my-recorded-parts", "prefix": "edge-agent/press-7"})
    for number in range(1, 5):
        rig.give(number, anomalous=number == 3, mask=_mask())
    sent(rig)
    # The first two of the three commands that the page has for this; the third one is training's.
    page = (Path(__file__).parents[2] / "docs" / "recorder.md").read_text()
    fetch, join, train = page.split("together are a manifest")[1].split("```")[1].strip().splitlines()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["/bin/sh", "-ec", f"{fetch}\n{join}"], cwd=str(tmp_path), env=environment, check=True)
    assert train.startswith("edge-agent train --manifest parts.manifest ")
    manifest = tmp_path / "parts.manifest"
    truth = read_ground_truth(manifest, Locations(manifest.parent, cache=tmp_path / "cache"))
    assert sorted(example.image.name[-5] for example in truth.examples) == ["1", "2", "3", "4"]
    assert all(example.image.is_file() for example in truth.examples)
    for example in truth.examples:
        assert example.is_anomalous == (example.mask is not None) == (example.image.name[-5] == "3")


def test_over_tls(rig: Rig, environment: Callable[[Dict[str, str]], None], tmp_path: Path) -> None:
    pem = tmp_path / "s3.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(pem), "-out", f"{pem}.crt", *subject)
    certificate = Path(f"{pem}.crt")
    with pem.open("ab") as file:
        file.write(certificate.read_bytes())
    s3 = S3("parts")
    with serve_s3(s3, certificate=pem) as address:
        environment({**KEYS, "AWS_ENDPOINT_URL_S3": address})
        rig.start(upload=UPLOAD)
        rig.give(1)
        until(lambda: upload_of(rig)["failed"] >= 2)
        assert upload_of(rig)["trouble"] == "s3://parts: does not answer (SSLError)"
        environment({"AWS_CA_BUNDLE": str(certificate)})
        rig.start(upload={**UPLOAD, "timeout_s": 20})
        assert sent(rig)["uploaded"] == 1
    for image in rig.files():
        assert s3.buckets["parts"][f"press-7/{image.relative_to(rig.path)}"] == image.read_bytes()


def test_rules_and_what_a_person_asked_for(rig: Rig, s3: S3) -> None:
    rig.start(upload={**UPLOAD, "rules": {"defects": {"verdict": "anomalous"}}})
    for number in range(1, 6):
        rig.give(number, anomalous=number in (2, 4))
    rig.settled()
    rig.recorder.ask("a", 1, "normal")
    rig.give(6)
    counts = sent(rig)
    assert numbers(s3) == [2, 4, 6]
    assert (counts["wanted"], counts["uploaded"], rig.counts()["recorded"]) == (3, 3, 6)


def test_offline_and_back_in_order(
    rig: Rig, environment: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    environment({**KEYS, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"})
    rig.start(upload=UPLOAD)
    for number in range(1, 31):
        rig.give(number, "ab"[number % 2])
    rig.settled("a")
    rig.settled("b")
    until(lambda: upload_of(rig)["failed"] >= 12)
    assert (upload_of(rig)["state"], books(rig, "a")["waiting"], books(rig, "b")["waiting"]) == ("waiting", 15, 15)
    assert upload_of(rig)["trouble"] == "s3://parts: does not answer (EndpointConnectionError)"
    waits = rig.recorder._clock.waits  # type: ignore[attr-defined]
    for index in range(10):
        longest = min(2.0**index, uploader._CAP_S)
        assert longest / 2 <= waits[index] <= longest
    s3 = S3("parts")
    with serve_s3(s3, port):
        assert sent(rig, "a")["uploaded"] == sent(rig, "b")["uploaded"] == 15
        until(lambda: upload_of(rig)["state"] == "working")
    assert numbers(s3) == list(range(1, 31))
    assert len(s3.put) == 30 * 3
    rig.stop()
    told = [record.message for record in caplog.records if "upload" in record.message]
    assert told == [
        "recorder: upload: waiting: s3://parts: does not answer (EndpointConnectionError)",
        "recorder: upload: works again",
    ]


def test_what_waits_is_on_disk_for_the_next_run(rig: Rig, s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    s3.refusal = (503, "SlowDown", "Please reduce your request rate.")
    rig.start(upload=UPLOAD)
    for number in range(1, 4):
        rig.give(number)
    rig.settled()
    rig.stop()
    assert "recorder: wait on disk for their upload by the next run: 3 images" in caplog.text
    assert numbers(s3) == []
    s3.refusal = None
    again = Rig(rig.path, Impatient())
    again.start(upload=UPLOAD)
    assert sent(again) == {"found": 3, "wanted": 0, "uploaded": 3, "waiting": 0, "lost": {}}
    assert numbers(s3) == [1, 2, 3]
    again.stop()


def test_a_draft_that_a_kill_left_waits_if_its_image_is_there(rig: Rig, s3: S3) -> None:
    s3.refusal = (503, "SlowDown", "Please reduce your request rate.")
    rig.start(upload=UPLOAD)
    for number in (1, 2):
        rig.give(number)
    rig.settled()
    rig.stop()
    s3.refusal = None
    waiting = sorted((rig.path / "upload").glob("*.line"))
    # The second image got its name, and the kill came before its place in the queue did; of a third one there is nothing yet.
    for text, expected in (
        (waiting[1].read_bytes(), [1, 2]),
        (waiting[1].read_bytes().replace(b"_2.", b"_3."), [1, 2]),
    ):
        for file in (rig.path / "upload").glob("*_2.png.line"):
            file.unlink()
        (rig.path / "upload" / ".draft").write_bytes(text)
        again = Rig(rig.path, Impatient())
        again.start(upload=UPLOAD)
        sent(again)
        again.stop()
        assert numbers(s3) == expected
        assert list((rig.path / "upload").iterdir()) == []


#: Where the process is killed: while an object with this ending is on its way, there already or not; "": at any moment.
KILLS = [(".png", False), (".manifest", False), (".manifest", True), ("", False), ("", False)]


class _Moment:
    """When the process is to be killed: some objects after now, with one that has the ending on its way."""

    def __init__(self, s3: S3, ending: str, after: int, *, is_there: bool) -> None:
        self._ending, self._is_there = ending, is_there
        self._s3, self._enough = s3, len(s3.put) + after
        self.came, self.over = threading.Event(), threading.Event()

    def put(self, key: str) -> None:
        if self.came.is_set() or len(self._s3.put) < self._enough or not key.endswith(self._ending):
            return
        self.came.set()
        if self._ending:
            assert self.over.wait(60)
            if not self._is_there:
                raise ConnectionResetError


def test_a_kill_costs_nothing_and_leaves_nothing_twice(rig: Rig, s3: S3) -> None:
    command = [sys.executable, "-m", "recorder.upload_worker", str(rig.path)]
    choices = random.Random(7)
    for round_, (ending, is_there) in enumerate(KILLS):
        moment = _Moment(s3, ending, after=choices.randint(3, 6), is_there=is_there)
        s3.on_put = moment.put
        arguments = [*command, json.dumps({"upload": UPLOAD}), str(1 + 1000 * round_)]
        with subprocess.Popen(arguments, cwd=str(Path(__file__).parents[1])) as process:
            try:
                assert moment.came.wait(60)
                threading.Event().wait(0 if ending else choices.uniform(0.0, 0.05))
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
                moment.over.set()
    s3.on_put = lambda _key: None
    rig.start(upload=UPLOAD)
    recorded = rig.numbers()
    assert len(recorded) >= len(KILLS)
    counts = sent(rig)
    assert counts["found"] == counts["uploaded"] > 0
    objects = s3.buckets["parts"]
    assert sorted(numbers(s3)) == sorted(recorded)
    for image in [path for path in rig.files() if path.parent.name != "upload"]:
        assert objects[f"press-7/{image.relative_to(rig.path)}"] == image.read_bytes()
    # Exactly these, and at most the image at hand was sent again after a kill.
    assert len(objects) == 3 * len(recorded)
    assert len(s3.put) - len(objects) <= 3 * len(KILLS)
    assert list((rig.path / "upload").iterdir()) == []


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((403, "AccessDenied", "not authorized to perform: s3:PutObject"), "edge-agent deploy iam --role device"),
        ((404, "NoSuchBucket", "The specified bucket does not exist"), "Correct `recorder.upload.bucket`"),
        ((301, "PermanentRedirect", "another endpoint"), "Set `recorder.upload.region`"),
        ((403, "InvalidAccessKeyId", "The key does not exist"), "aws.greengrass.TokenExchangeService"),
    ],
)
def test_a_refusal_is_told_and_tried_seldom(
    rig: Rig, s3: S3, refusal: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    s3.refusal = refusal
    rig.start(upload=UPLOAD)
    rig.give(1)
    until(lambda: upload_of(rig)["failed"] >= 3)
    status = upload_of(rig)
    assert status["state"] == "trouble"
    assert status["trouble"].startswith("s3://parts: ")
    assert words in status["trouble"]
    assert f"[{refusal[1]}]" in status["trouble"]
    assert min(rig.recorder._clock.waits) >= uploader._REFUSED_FIRST_S / 2  # type: ignore[attr-defined]
    assert rig.recorder.status()["state"] == "working"
    s3.refusal = None
    assert sent(rig)["uploaded"] == 1
    until(lambda: upload_of(rig)["state"] == "working")
    rig.stop()
    assert caplog.text.count("recorder: upload:") == 2


def test_credentials_of_the_token_exchange_service(
    rig: Rig,
    s3: S3,
    environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    rig.start(upload=UPLOAD)
    rig.give(1)
    until(lambda: upload_of(rig)["state"] == "trouble")
    assert upload_of(rig)["trouble"].startswith("AWS credentials: there are none")
    exchange = TokenExchange("component-token")
    s3.sessions = exchange.given
    with serve_token_exchange(exchange) as uri:
        environment(on_a_device(uri))
        # Shorter than the time before its end at which boto3 asks for the next: each object is sent with new ones.
        exchange.lifetime_s = 300.0
        assert sent(rig)["uploaded"] == 1
        given = len(exchange.given)
        assert given > 1
        rig.give(2)
        sent(rig)
        assert len(exchange.given) > given
        # S3 is the one to say that they have ended; none of those that were given counts any more.
        exchange.lifetime_s = 36_000.0
        s3.sessions = []
        rig.give(3)
        until(lambda: "[ExpiredToken]" in (upload_of(rig)["trouble"] or ""))
        assert upload_of(rig)["state"] == "waiting"
        s3.sessions = exchange.given
        assert sent(rig)["uploaded"] == 3
    assert numbers(s3) == [1, 2, 3]
    for secret in ("component-token", "the-secret-key", *exchange.given):
        assert secret not in caplog.text


def test_a_token_exchange_service_that_fails_is_waited_for(
    rig: Rig, s3: S3, environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0.01)
    exchange = TokenExchange("component-token")
    exchange.refusal = 500
    with serve_token_exchange(exchange) as uri:
        environment(on_a_device(uri))
        rig.start(upload=UPLOAD)
        rig.give(1)
        until(lambda: upload_of(rig)["failed"] >= 2)
        assert upload_of(rig)["trouble"].startswith("AWS credentials: were not given")
        exchange.refusal, exchange.answer = None, b'{"Code": "Success"}'
        until(lambda: upload_of(rig)["state"] == "trouble")
        assert upload_of(rig)["trouble"].startswith("s3://parts: boto3 cannot be set up (KeyError: ")
        exchange.answer = None
        assert sent(rig)["uploaded"] == 1
        # Again while it has credentials that it wants to refresh.
        exchange.lifetime_s = 300.0
        rig.recorder._now.uploader._bucket.close()  # type: ignore[union-attr]
        rig.give(2)
        sent(rig)
        exchange.answer = b'{"Code": "Success"}'
        rig.give(3)
        until(lambda: upload_of(rig)["state"] == "trouble")
        exchange.answer = None
        assert sent(rig)["uploaded"] == 3
    assert numbers(s3) == [1, 2, 3]


def test_an_image_that_goes_before_it_was_uploaded_is_counted(rig: Rig, s3: S3) -> None:
    clock, day_ns = rig.recorder._clock, 86_400 * SECOND_NS
    s3.refusal = (503, "SlowDown", "Please reduce your request rate.")
    for days, given in ((0, (1, 2)), (1.5, (3, 4)), (2.5, ())):
        clock.wall = START_NS + int(days * day_ns)  # type: ignore[attr-defined]
        rig.start(upload=UPLOAD, days=2)
        for number in given:
            rig.give(number, at_ns=clock.wall_ns() + number * SECOND_NS)
        rig.settled()
    rig.give(5, at_ns=clock.wall_ns())
    assert rig.settled()["removed"] == {"age": 2}
    counts = books(rig)
    assert (counts["wanted"], counts["waiting"], counts["lost"]) == (5, 3, {"removed": 2})
    s3.refusal = None
    assert sent(rig)["uploaded"] == 3
    assert numbers(s3) == [3, 4, 5]


def test_of_those_that_may_go_the_uploaded_ones_go_first(rig: Rig, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.recorder.settings._MIN_BYTES", 1)
    rules = {"defects": {"verdict": "anomalous"}, "sure": {"min_confidence": 0.95}}
    refuse = (503, "SlowDown", "Please reduce your request rate.")
    s3.refusal = refuse
    rig.start(upload={**UPLOAD, "rules": rules})
    # 1 to 3 wait; 4 to 6 do not, as if they were in S3.
    for number in range(1, 7):
        rig.give(number, confidence=0.99 if number < 4 else 0.9)
    rig.settled()
    one = sum(path.stat().st_size for path in rig.path.rglob("*/*/*.*")) // 6
    rig.start(upload={**UPLOAD, "rules": rules}, bytes=4 * one + one // 2)
    until(lambda: rig.counts()["kept"] <= 4)
    assert rig.numbers() == [1, 2, 3, 6]
    rig.start(upload={**UPLOAD, "rules": rules}, bytes=2 * one + one // 2)
    until(lambda: rig.counts()["kept"] <= 2)
    assert rig.numbers() == [2, 3]
    assert books(rig)["lost"]["removed"] == 1
    s3.refusal = None
    sent(rig)
    assert numbers(s3) == [2, 3]


def test_not_too_many_that_wait_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.recorder.retention._PASSED_OVER", 3)
    waiting = {1, 3, 5, 7}
    retention = Retention(RecorderSettings(free_bytes=8000), lambda kept: kept.captured_at_ns in waiting)
    for number in range(1, 9):
        retention.add(Kept(number, "a", str(number), 1000, is_anomalous=False))
    victims = retention.for_free(0, is_anomalous=False)
    assert [kept.captured_at_ns for kept in victims or ()] == [2, 4, 1, 3, 5, 6, 7, 8]


def test_an_image_that_goes_while_it_is_uploaded_is_counted_once(rig: Rig, s3: S3) -> None:
    def take_away(key: str) -> None:
        if key.endswith("_1.png"):
            kept = next(iter(rig.recorder._now.writer._keeper._retention._normal))  # type: ignore[union-attr]
            rig.recorder._now.writer._keeper._remove([kept], "age")  # type: ignore[union-attr]

    s3.on_put = take_away
    rig.start(upload=UPLOAD)
    rig.give(1)
    rig.settled()
    rig.give(2)
    counts = sent(rig)
    assert (counts["wanted"], counts["uploaded"], counts["lost"]) == (2, 1, {"removed": 1})
    assert numbers(s3) == [2]


def test_another_bucket_takes_over_while_it_runs(rig: Rig, s3: S3) -> None:
    s3.refusal = (404, "NoSuchBucket", "The specified bucket does not exist")
    rig.start(upload={**UPLOAD, "bucket": "gone"})
    for number in (1, 2):
        rig.give(number)
    rig.settled()
    until(lambda: upload_of(rig)["state"] == "trouble")
    s3.refusal = None
    rig.start(upload=UPLOAD)
    rig.give(3)
    counts = sent(rig)
    assert counts == {"found": 2, "wanted": 3, "uploaded": 3, "waiting": 0, "lost": {"left": 2}}
    assert numbers(s3) == [1, 2, 3]
    rig.start()
    assert upload_of(rig)["state"] == "off"
    rig.give(4)
    rig.settled()
    rig.start(upload=UPLOAD)
    rig.give(5)
    sent(rig)
    # What was recorded while it was off is not wanted.
    assert numbers(s3) == [1, 2, 3, 5]


def test_a_connection_that_breaks_costs_an_attempt_alone(rig: Rig, s3: S3) -> None:
    broken = iter([True, False, True])

    def break_off(_key: str) -> None:
        if next(broken, False):
            raise ConnectionResetError

    s3.on_put = break_off
    rig.start(upload=UPLOAD)
    rig.give(1)
    assert sent(rig)["uploaded"] == 1
    assert upload_of(rig)["failed"] == 2
    assert numbers(s3) == [1]


def test_a_line_that_a_power_cut_tore_is_that_of_the_manifest(rig: Rig, s3: S3) -> None:
    s3.refusal = (503, "SlowDown", "Please reduce your request rate.")
    rig.start(upload=UPLOAD)
    for number in (1, 2, 3):
        rig.give(number, anomalous=True, mask=_mask())
    rig.settled()
    rig.give(4)
    rig.settled()
    rig.stop()
    files = sorted((rig.path / "upload").glob("*.line"))
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:50])
    files[3].write_bytes(b"{}")
    s3.refusal = None
    again = Rig(rig.path, Impatient())

    def forget(key: str) -> None:
        if key.endswith("_3.json"):
            (rig.path / "a.manifest").write_text("")

    s3.on_put = forget
    again.start(upload=UPLOAD)
    counts = sent(again)
    assert (counts["uploaded"], counts["lost"]) == (3, {"damaged": 1})
    lines = [json.loads(s3.buckets["parts"][key]) for key in s3.put if key.endswith(".manifest")]
    assert [line["recorded-for"] for line in lines] == ["rule everything"] * 3
    assert all(line["anomaly-mask-ref"].startswith("s3://parts/press-7/") for line in lines)
    again.stop()


def test_memory_is_held_for_a_few_however_many_wait(tmp_path: Path) -> None:
    queue = UploadQueue(tmp_path, UploadSettings(), UploadBooks())
    (tmp_path / "upload").mkdir()
    for number in range(5000, 0, -1):
        (tmp_path / "upload" / f"20261121T140530.{number:06d}Z_a_{number}.jpg.line").touch()
    tracemalloc.start()
    try:
        queue.open()
        first = queue.first(10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [waiting.reference for waiting in first] == [
        f"20261121/14/20261121T140530.{number:06d}Z_a_{number}.jpg" for number in range(1, 11)
    ]
    # The names alone have 500 kB.
    assert peak < 100_000


def test_the_rate_is_kept_on_average(rig: Rig, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    # Sending takes no time.
    monkeypatch.setattr(rig.recorder._clock, "monotonic_ns", lambda: 0)
    rig.start(upload={**UPLOAD, "bytes_per_s": 1000})
    for number in (1, 2):
        rig.give(number)
    sent(rig)
    sizes = [len(s3.buckets["parts"][key]) for key in s3.put]
    waits = rig.recorder._clock.waits  # type: ignore[attr-defined]
    # After each object but the last, for as long as its bytes have.
    assert waits == pytest.approx([size / 1000 for size in sizes[:-1]], abs=1e-6)


def test_a_missing_boto3_names_the_extra(rig: Rig, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    rig.start(upload=UPLOAD)
    rig.give(1)
    until(lambda: upload_of(rig)["state"] == "trouble")
    assert "edge-agent[aws]" in upload_of(rig)["trouble"]
    assert rig.settled()["recorded"] == 1


def test_a_fault_of_ours_stops_the_upload_alone(
    rig: Rig, s3: S3, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: Any) -> Any:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(uploader, "read_line", fail)
    rig.start(upload=UPLOAD)
    rig.give(1)
    until(rig.recorder.upload_faulty)
    rig.give(2)
    assert rig.settled()["recorded"] == 2
    assert upload_of(rig)["state"] == "faulty"
    assert not rig.recorder.faulty()
    assert "recorder: upload stopped by an internal error" in caplog.text


def test_nothing_of_aws_is_imported_while_it_is_off() -> None:
    code = "import sys, edge_agent.recorder as r; assert not {'boto3', 'botocore'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
