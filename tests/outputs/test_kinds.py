"""What is special about each kind, with its real peer."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import jsonschema
import pytest
from outputs.conftest import context, read, working
from support.outputs import (
    MOSQUITTO,
    BrokerPeer,
    ChipPeer,
    FilePeer,
    HookPeer,
    PlcPeer,
    inspection,
    part,
    put_up,
)
from support.waiting import until

from edge_agent.errors import OutputError
from edge_agent.outputs import Outputs
from edge_agent.outputs.base import Action, Output
from edge_agent.outputs.kinds import make_output

_SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "undecided.schema.json").read_text())

Start = Callable[..., Outputs]


@contextlib.contextmanager
def opened(settings: Dict[str, Any], directory: Path) -> Iterator[Output]:
    output = make_output(read(x={"to": settings})["x"].to, context(directory))
    output.open()
    try:
        yield output
    finally:
        output.close()


def action(sequence: int = 1, **verdict: Any) -> Action:
    return Action(part(sequence), on=True, due_ns=time.monotonic_ns(), inspection=inspection(sequence, **verdict))


def offer(outputs: Outputs, sequence: int, **verdict: Any) -> None:
    outputs.offer(part(sequence), inspection(sequence, **verdict))


def settled(outputs: Outputs) -> bool:
    return all(status["counts"]["waiting"] == 0 for status in outputs.status().values())


# gpio


@pytest.fixture
def chip(tmp_path: Path) -> Iterator[ChipPeer]:
    with put_up(ChipPeer, tmp_path) as made:
        yield made


def _levels(chip: ChipPeer) -> List[int]:
    return [level for _at, level in chip.levels()]


def test_a_pulse_has_its_width(chip: ChipPeer, start: Start) -> None:
    outputs = start(x={"to": {**chip.settings(), "safe": "inactive", "pulse_ms": 40}})
    working(outputs)
    offer(outputs, 1)
    until(lambda: _levels(chip)[-2:] == [1, 0])
    (rise, _), (fall, _) = chip.levels()[-2:]
    assert fall - rise >= 40e6 * 0.95, "it ended early"


def test_an_active_low_line_is_driven_the_other_way_round(chip: ChipPeer, start: Start) -> None:
    outputs = start(x={"to": {**chip.settings(), "safe": "inactive", "active_low": True}})
    working(outputs)
    assert set(_levels(chip)) == {1}
    offer(outputs, 1)
    until(lambda: _levels(chip)[-2:] == [0, 1])


def test_a_latch_follows_the_rule(chip: ChipPeer, start: Start) -> None:
    settings = {**chip.settings(), "mode": "latch", "safe": "inactive"}
    outputs = start(x={"to": settings, "when": {"verdict": "anomalous"}})
    working(outputs)
    for sequence, anomalous in enumerate((True, True, False, True), 1):
        offer(outputs, sequence, anomalous=anomalous)
        until(lambda: settled(outputs))
        assert _levels(chip)[-1] == int(anomalous)
    outputs.close(5.0)
    assert _levels(chip)[-1] == 0


def test_hold_leaves_the_level_alone_over_a_fault(chip: ChipPeer, start: Start) -> None:
    outputs = start(x={"to": {**chip.settings(), "mode": "latch", "safe": "hold"}})
    working(outputs)
    offer(outputs, 1)
    until(lambda: _levels(chip)[-1:] == [1])
    chip.stop()
    chip.start()
    offer(outputs, 2)
    until(lambda: settled(outputs))
    assert set(_levels(chip)) == {1}, "it fell when the line was taken again"


# modbus


@pytest.fixture
def plc(tmp_path: Path) -> Iterator[PlcPeer]:
    with put_up(PlcPeer, tmp_path) as made:
        yield made


def test_registers_say_what_was_decided(plc: PlcPeer, start: Start) -> None:
    outputs = start(x={"to": plc.settings()})
    working(outputs)
    offer(outputs, 70_000, confidence=0.875, scratch=0.25, background=0.75)
    until(lambda: settled(outputs))
    assert plc.read_registers() == [1, 2, 875, 2500, 1, 4464]
    offer(outputs, 2, anomalous=False, confidence=1.0)
    until(lambda: settled(outputs))
    assert plc.read_registers() == [2, 1, 1000, 0, 0, 2]
    outputs.give_up(part(3), "lost", "timeout")
    until(lambda: settled(outputs))
    assert plc.read_registers() == [3, 3, 0, 0, 0, 3]
    outputs.close(5.0)
    assert plc.read_registers() == [3, 0, 0, 0, 0, 0]


def test_a_coil_is_latched(plc: PlcPeer, start: Start) -> None:
    settings = {**plc.settings(), "mode": "latch", "registers": None}
    outputs = start(x={"to": settings, "when": {"verdict": "normal"}})
    working(outputs)
    for sequence, anomalous in ((1, False), (2, True), (3, False)):
        offer(outputs, sequence, anomalous=anomalous)
        until(lambda: settled(outputs))
        assert plc.read_coil() is not anomalous
    outputs.close(5.0)
    assert not plc.read_coil()


def test_a_device_that_refuses_is_told_from_one_that_is_gone(plc: PlcPeer, tmp_path: Path) -> None:
    with opened({**plc.settings(), "coil": 5000, "registers": None}, tmp_path) as output, pytest.raises(
        OutputError, match=r"modbus 127\.0\.0\.1:\d+: refuses function 5: there is no such address"
    ) as caught:
        output.apply(action())
    assert type(caught.value) is OutputError


def test_a_plc_that_goes_while_nothing_happens_is_noticed(plc: PlcPeer, start: Start) -> None:
    outputs = start(x={"to": plc.settings()})
    working(outputs)
    plc.stop()
    until(lambda: outputs.states()["x"] == "broken")
    plc.start()
    until(lambda: outputs.states()["x"] == "safe")


# mqtt


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerPeer]:
    if BrokerPeer.missing():
        pytest.skip(f"not here: {BrokerPeer.missing()}")
    with put_up(BrokerPeer, tmp_path) as made:
        yield made


def test_a_message_is_the_inspection_or_says_that_there_is_none(
    broker: BrokerPeer, start: Start, inspection_schema: Dict[str, Any]
) -> None:
    outputs = start(x={"to": broker.settings()})
    working(outputs)
    offer(outputs, 1, scratch=0.1)
    outputs.give_up(part(None), "missed_trigger", "busy")
    until(lambda: broker.applied() == 2)
    first, second = [json.loads(payload) for topic, payload, _r in broker.messages if topic == "line/parts"]
    jsonschema.validate(first, inspection_schema)
    jsonschema.validate(second, _SCHEMA)
    assert (second["undecided"], second["detail"], second["trigger_id"]) == ("missed_trigger", "busy", "trigger-1")


def test_the_state_is_retained_and_has_a_last_will(broker: BrokerPeer, tmp_path: Path) -> None:
    with opened(broker.settings(), tmp_path) as output:
        output.safe("start")
        output.ready()
        until(lambda: broker.states() == ["safe", "working"])
        # The connection breaks without a goodbye.
        output._client._sock_close()  # type: ignore[attr-defined]
        until(lambda: broker.states()[-1] == "gone")
    late = broker._subscriber()
    until(lambda: broker.messages[-1][2])
    assert json.loads(broker.messages[-1][1]) == {"state": "gone"}
    late.disconnect()
    late.loop_stop()


def test_a_goodbye_is_no_last_will(broker: BrokerPeer, start: Start) -> None:
    outputs = start(x={"to": broker.settings()})
    working(outputs)
    outputs.close(10.0)
    until(lambda: broker.states()[-1:] == ["stopped"])
    time.sleep(0.1)
    assert "gone" not in broker.states()


_OPENSSL = shutil.which("openssl") or "/usr/bin/openssl"


class TlsBroker(BrokerPeer):
    """It has a certificate, wants one of its clients, and a password."""

    def start(self) -> None:
        self._make_certificates()
        (self.directory / "passwords").write_text("")
        passwords = [str(Path(MOSQUITTO).with_name("mosquitto_passwd"))]
        if not Path(passwords[0]).exists():
            passwords = ["mosquitto_passwd"]
        subprocess.run([*passwords, "-b", str(self.directory / "passwords"), "line", "open sesame"], check=True)
        self.options = (
            f"cafile {self.file('ca.pem')}\ncertfile {self.file('server.pem')}\nkeyfile {self.file('server.key')}\n"
            f"require_certificate true\nallow_anonymous false\npassword_file {self.directory / 'passwords'}\n"
        )
        super().start()

    def settings(self) -> Dict[str, Any]:
        password = self.directory / "password"
        password.write_text("open sesame\n")
        return {
            **super().settings(),
            "tls": True,
            "ca_file": self.file("ca.pem"),
            "cert_file": self.file("client.pem"),
            "key_file": self.file("client.key"),
            "username": "line",
            "password_file": str(password),
            "timeout_s": 5,
        }

    def configure_client(self, client: Any) -> None:
        client.tls_set(self.file("ca.pem"), self.file("client.pem"), self.file("client.key"))
        client.username_pw_set("line", "open sesame")

    def file(self, name: str) -> str:
        return str(self.directory / name)

    def _make_certificates(self) -> None:
        def openssl(*arguments: str) -> None:
            subprocess.run([_OPENSSL, *arguments], check=True, capture_output=True, cwd=self.directory)

        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test", "-days", "2")
        for name in ("server", "client"):
            extension = self.directory / f"{name}.ext"
            extension.write_text("subjectAltName=IP:127.0.0.1\n")
            openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            openssl(
                *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
                *("-out", f"{name}.pem", "-days", "2", "-extfile", extension.name),
            )


# paho leaves the socket of a failed handshake to Python's own tidying up.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_wants_certificates_and_a_password(tmp_path: Path, start: Start) -> None:
    if BrokerPeer.missing():
        pytest.skip(f"not here: {BrokerPeer.missing()}")
    with put_up(TlsBroker, tmp_path) as broker:
        outputs = start(x={"to": broker.settings()})
        working(outputs)
        offer(outputs, 1)
        until(lambda: broker.applied() == 1)
        wrong = broker.settings()
        (tmp_path / "password").write_text("open barley")
        with pytest.raises(OutputError, match="refuses the connection"), opened(wrong, tmp_path):
            pass
        stranger = {**broker.settings(), "ca_file": broker.file("client.pem")}
        with pytest.raises(OutputError, match="certificate verify failed"), opened(stranger, tmp_path):
            pass
        nothing = {**broker.settings(), "ca_file": "/nowhere.pem"}
        with pytest.raises(OutputError, match="TLS files cannot be used"), opened(nothing, tmp_path):
            pass


# webhook


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[HookPeer]:
    with put_up(HookPeer, tmp_path) as made:
        yield made


def test_a_body_is_signed(hook: HookPeer, start: Start) -> None:
    outputs = start(x={"to": hook.settings()})
    offer(outputs, 1)
    until(lambda: hook.applied() == 1)
    stamp, digest = hook.headers[0]["X-Edge-Agent-Signature"].split(",")
    signed = stamp[len("t=") :].encode() + b"." + hook.bodies[0]
    assert digest == "v1=" + hmac.new(b"a secret", signed, hashlib.sha256).hexdigest()
    assert abs(int(stamp[len("t=") :]) - time.time()) < 60


@pytest.mark.parametrize("fault", ["status", "hang", "gone"])
def test_what_the_server_does_not_take_comes_again_in_order(hook: HookPeer, start: Start, fault: str) -> None:
    outputs = start(x={"to": hook.settings()})
    for sequence in range(1, 6):
        offer(outputs, sequence)
    until(lambda: hook.applied() == 5)
    if fault == "status":
        hook.status = 500
    elif fault == "hang":
        hook.hang()
    else:
        hook.stop()
    for sequence in range(6, 21):
        offer(outputs, sequence)
    until(lambda: outputs.status()["x"]["delivery"] == "waiting")
    assert outputs.status()["x"]["counts"]["applied"] == 20, "the spool takes it all the same"
    if fault == "status":
        hook.status = 200
    elif fault == "hang":
        hook.resume()
    else:
        hook.start()
    until(lambda: outputs.status()["x"]["spool"]["delivered"] == 20)
    seen = [found["sequence"] for found in hook.parts()]
    assert list(dict.fromkeys(seen)) == list(range(1, 21)), "one is missing, or out of order"


def test_the_next_run_delivers_what_waits(hook: HookPeer, start: Start) -> None:
    hook.stop()
    first = start(x={"to": hook.settings()})
    for sequence in range(1, 4):
        offer(first, sequence)
    until(lambda: first.status()["x"]["counts"]["applied"] == 3)
    first.close(10.0)
    hook.start()
    second = start(x={"to": hook.settings()})
    until(lambda: [found["sequence"] for found in hook.parts()] == [1, 2, 3])
    until(lambda: second.status()["x"]["spool"] == {"carried": 3, "delivered": 3, "spooled": 0, "expired": {}})


def test_an_unreadable_secret_is_said(hook: HookPeer, tmp_path: Path) -> None:
    settings = {**hook.settings(), "secret_file": "/nowhere"}
    with pytest.raises(OutputError, match="/nowhere: cannot be read"), opened(settings, tmp_path):
        pass


# jsonl


@pytest.fixture
def file(tmp_path: Path) -> Iterator[FilePeer]:
    with put_up(FilePeer, tmp_path) as made:
        yield made


def test_a_torn_line_is_cut_off(file: FilePeer, tmp_path: Path) -> None:
    with opened(file.settings(), tmp_path) as output:
        output.apply(action(1))
    whole = file.path.read_bytes()
    file.path.write_bytes(whole + b'{"version":1,"id":"' + b"x" * 100_000)
    with opened(file.settings(), tmp_path) as output:
        output.apply(action(2))
    assert [line["sequence"] for line in file.lines()] == [1, 2]
    file.path.write_bytes(b"no line at all")
    with opened(file.settings(), tmp_path) as output:
        output.apply(action(3))
    assert [line["sequence"] for line in file.lines()] == [3]


def test_full_files_are_put_aside_and_the_oldest_goes(file: FilePeer, tmp_path: Path) -> None:
    settings = {**file.settings(), "bytes": 65_536, "keep": 2, "sync": "never"}
    with opened(settings, tmp_path) as output:
        for sequence in range(1, 701):
            output.apply(action(sequence))
    files = [file.path.with_name(f"parts.jsonl{end}") for end in (".2", ".1", "")]
    assert sorted(file.folder.iterdir()) == sorted(files)
    assert all(path.stat().st_size <= 65_536 for path in files)
    kept = [json.loads(line)["sequence"] for path in files for line in path.read_text().splitlines()]
    assert kept == list(range(kept[0], 701))
    assert kept[0] > 1


def test_a_full_disk_costs_no_line_that_was_written(file: FilePeer, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: it, too, takes a part of a write."""
    script = f"""
import resource, signal, sys
sys.path[:0] = {[str(Path(__file__).parents[1])]!r}
from pathlib import Path
from outputs.test_kinds import action, opened
from edge_agent.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with opened({file.settings()!r}, Path({str(tmp_path)!r})) as output:
    output.apply(action(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (800, resource.RLIM_INFINITY))
    try:
        output.apply(action(2))
    except OutputError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    output.apply(action(3))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=os.environ)
    assert "cannot be written (File too large)" in done.stdout
    assert [line["sequence"] for line in file.lines()] == [1, 3]
