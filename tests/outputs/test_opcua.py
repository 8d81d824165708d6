"""The output `opcua`, beyond what the contract asks of every kind."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest
from outputs.conftest import context, read
from support.outputs import OpcUaPeer, inspection, part

from edge_agent.errors import OutputError
from edge_agent.outputs.base import Action, Output
from edge_agent.outputs.kinds import make_output

pytestmark = pytest.mark.skipif(bool(OpcUaPeer.missing()), reason=f"not here: {OpcUaPeer.missing()}")

_OPENSSL = shutil.which("openssl") or "/usr/bin/openssl"


def _output(settings: Dict[str, Any], directory: Path) -> Output:
    return make_output(read(x={"to": settings})["x"].to, context(directory))


def _action(sequence: int = 7) -> Action:
    found = inspection(sequence, anomalous=True, confidence=0.875, scratch=0.02, dent=0.0125, background=0.9)
    return Action(part(sequence), on=True, due_ns=time.monotonic_ns(), inspection=found)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaPeer]:
    made = OpcUaPeer(tmp_path_factory.mktemp("opcua"))
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaPeer]:
    """A server that takes encrypted connections of a known user alone; `other` is a stranger's certificate."""
    directory = tmp_path_factory.mktemp("secured")
    for name, uri in (("server", "urn:freeopcua:python:server"), ("client", "urn:edge-agent"), ("other", "urn:other")):
        extensions = {
            "subjectAltName": f"URI:{uri},IP:127.0.0.1",
            "keyUsage": "digitalSignature,nonRepudiation,keyEncipherment,dataEncipherment",
            "extendedKeyUsage": "serverAuth,clientAuth",
        }
        added = [word for key, value in extensions.items() for word in ("-addext", f"{key}={value}")]
        new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.pem", "-outform", "der"]
        command = [_OPENSSL, *new, "-out", f"{name}.der", "-subj", f"/CN={name}", "-days", "2", *added]
        subprocess.run(command, check=True, capture_output=True, cwd=directory)
    (directory / "password").write_text("secret\n")
    (directory / "wrong").write_text("guess\n")
    made = OpcUaPeer(directory)
    made.secured = True
    made.start()
    yield made
    made.close()


def _secure(peer: OpcUaPeer) -> Dict[str, Any]:
    files = {
        "cert_file": "client.der",
        "key_file": "client.pem",
        "server_cert_file": "server.der",
        "password_file": "password",
    }
    paths = {key: str(peer.directory / name) for key, name in files.items()}
    # A handshake with RSA on a loaded machine.
    return {**peer.settings(), **paths, "security": "sign_and_encrypt", "username": "press-7", "timeout_s": 20}


def test_nodes_hold_what_was_decided_in_their_own_types(server: OpcUaPeer, tmp_path: Path) -> None:
    output = _output(server.settings(), tmp_path)
    output.open()
    output.safe("start")
    output.apply(_action())
    seen = {name: server.read(name) for name in server.nodes}
    document = seen.pop("document")
    assert seen == {
        "state": "working",
        "count": 1,
        "verdict": 2,
        "confidence": 875.0,
        "area": 325,
        "sequence": 7,
        "classes": "scratch,dent",
    }
    assert json.loads(document)["id"] == f"{7:032x}"
    output.safe("stop")
    output.close()
    assert server.is_safe()
    assert server.read("document") == ""


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ({"verdict": "ns=2;s=Line.nowhere"}, "refuses"),
        ({"state": "ns=2;s=Line.count"}, "holds no text"),
        ({"verdict": "no node at all"}, "refuses"),
    ],
)
def test_nodes_that_cannot_be_written_are_named_when_it_connects(
    server: OpcUaPeer, tmp_path: Path, nodes: Dict[str, str], words: str
) -> None:
    output = _output({**server.settings(), "nodes": nodes}, tmp_path)
    with pytest.raises(OutputError, match=words) as caught:
        output.open()
    output.close()
    assert caught.value.subject == f"opcua {server.settings()['url']}"


def test_a_number_that_its_node_cannot_hold_is_refused(server: OpcUaPeer, tmp_path: Path) -> None:
    output = _output({**server.settings(), "nodes": {"sequence": "ns=2;s=Line.small"}}, tmp_path)
    output.open()
    output.apply(_action(200))
    assert server.read("small") == 200
    with pytest.raises(OutputError, match="refuses"):
        output.apply(_action(300))
    output.close()


def test_an_encrypted_server_takes_the_user_it_knows(secured: OpcUaPeer, tmp_path: Path) -> None:
    output = _output(_secure(secured), tmp_path)
    output.open()
    output.safe("start")
    output.apply(_action())  # returns when the server has confirmed it
    output.close()


@pytest.mark.parametrize("wrong", [{"password_file": "wrong"}, {"server_cert_file": "other.der"}])
def test_an_encrypted_server_and_what_is_wrong(secured: OpcUaPeer, tmp_path: Path, wrong: Dict[str, str]) -> None:
    settings = {**_secure(secured), **{key: str(secured.directory / name) for key, name in wrong.items()}}
    output = _output({**settings, "timeout_s": 3}, tmp_path)
    with pytest.raises(OutputError):
        output.open()
    output.close()


def test_an_encrypted_server_takes_nothing_in_the_open(secured: OpcUaPeer, tmp_path: Path) -> None:
    output = _output(secured.settings(), tmp_path)
    with pytest.raises(OutputError):
        output.open()
    output.close()
