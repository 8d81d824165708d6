"""What an upload does while S3 does not take it: who is told, what it waits for, and that it goes on by itself."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from recorder.conftest import Rig
from recorder.uploads import KEYS, UPLOAD, books, numbers, on_a_device, sent, upload_of
from support.keys import openssl
from support.s3_loopback import S3, TokenExchange, serve_s3, serve_token_exchange
from support.waiting import until

from edge_agent.recorder.upload import uploader

pytest.importorskip("boto3")


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

    monkeypatch.setattr(uploader, "line_in", fail)
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
