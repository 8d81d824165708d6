"""Figures and health over HTTP: who may read them, and what a client can do to them."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.errors import ConfigError, MissingExtraError, WebError
from edge_agent.web import Exposition, add_process_figures, read_token
from edge_agent.web.process_figures import children, pss_bytes

TOKEN = "0123456789abcdef"  # noqa: S105 - a test's
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is to be refused


class Process:
    """Something with figures and a health."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.parts = Counter("parts", "Parts seen.", registry=self.registry)
        self.health = self.ready = ""
        self.opened: List[Exposition] = []

    def expose(self, address: str = "127.0.0.1:0", token: str = "") -> Exposition:
        made = Exposition(address, self.registry, health=lambda: self.health, ready=lambda: self.ready, token=token)
        made.open()
        self.opened.append(made)
        return made


@pytest.fixture
def process() -> Iterator[Process]:
    made = Process()
    yield made
    for exposition in made.opened:
        exposition.close()


def get(exposition: Exposition, path: str, headers: Optional[Dict[str, str]] = None) -> Tuple[int, str, Any]:
    connection = http.client.HTTPConnection(exposition.address, timeout=30)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def test_the_figures_are_those_of_the_moment(process: Process) -> None:
    exposition = process.expose()
    process.parts.inc(7)
    status, text, headers = get(exposition, "/metrics")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert "parts_total 7.0" in text
    process.parts.inc()
    assert "parts_total 8.0" in get(exposition, "/metrics?name=parts")[1]


def test_a_client_that_accepts_openmetrics_gets_it(process: Process) -> None:
    _, text, headers = get(process.expose(), "/metrics", {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_health_and_readiness_say_why_not(process: Process) -> None:
    exposition = process.expose()
    assert [get(exposition, page)[:2] for page in ("/health", "/ready")] == [(200, '{"status": "ok"}\n')] * 2
    process.ready = "the line stands still"
    assert get(exposition, "/ready")[:2] == (503, '{"status": "the line stands still"}\n')
    assert get(exposition, "/health")[0] == 200


def test_other_pages_and_methods_do_not_exist(process: Process) -> None:
    exposition = process.expose()
    for path in ("/", "/metrics/", "/../metrics", "/health%00", "http://elsewhere/none"):
        assert get(exposition, path)[0] == 404
    connection = http.client.HTTPConnection(exposition.address, timeout=30)
    connection.request("POST", "/metrics", body=b"x")
    assert connection.getresponse().status == 405
    connection.close()


def test_with_a_token_every_page_needs_it(process: Process) -> None:
    exposition = process.expose(token=TOKEN)
    for page in ("/metrics", "/health", "/ready", "/none"):
        for wrong in ({}, {"Authorization": TOKEN}, {"Authorization": "Bearer x"}, {"Authorization": "Bearer \xe9"}):
            status, text, headers = get(exposition, page, wrong)
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
            assert TOKEN not in text
        assert get(exposition, page, {"Authorization": f"Bearer {TOKEN}"})[0] in (200, 404)


@pytest.mark.parametrize("host", [EVERYWHERE, "[::]", "192.0.2.1", "a..b"])
def test_without_a_token_only_loopback_is_served_on(process: Process, host: str) -> None:
    with pytest.raises((ConfigError, WebError)) as caught:
        process.expose(f"{host}:0")
    assert "can be reached from other machines" in str(caught.value) or host == "a..b"


def test_with_a_token_any_address_is_served_on(process: Process) -> None:
    exposition = process.expose(f"{EVERYWHERE}:0", token=TOKEN)
    port = exposition.address.rpartition(":")[2]
    connection = http.client.HTTPConnection(f"127.0.0.1:{port}", timeout=30)
    connection.request("GET", "/health", headers={"Authorization": f"Bearer {TOKEN}"})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize(
    "address",
    ["", "9464", ":9464", "localhost", "localhost:", "h:65536", "h:x", "a:1/metrics", "u@h:1", "::1:80", "[::1"],
)
def test_what_is_no_address_is_refused(process: Process, address: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form HOST:PORT"):
        process.expose(address)


def test_an_address_in_use_is_one_clear_error(process: Process) -> None:
    first = process.expose("localhost:0")
    with pytest.raises(WebError, match="cannot be served on \\(Address already in use\\)"):
        process.expose(first.address)


def test_silent_clients_keep_nobody_out_for_long_and_cannot_pile_up(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.web.connections._Handler.timeout", 1.0)
    exposition = process.expose()
    host, _, port = exposition.address.rpartition(":")
    silent = [socket.create_connection((host, int(port)), timeout=30) for _ in range(16)]
    one_more = socket.create_connection((host, int(port)), timeout=30)
    assert one_more.recv(1) == b"", "there is no room for it"
    for client in silent:
        assert client.recv(1) == b"", "they had their second"
    for client in (*silent, one_more):
        client.close()
    deadline = time.monotonic() + 30
    status = 0
    while not status:
        # The last of their threads may still be on its way out.
        with contextlib.suppress(ConnectionError, http.client.BadStatusLine):
            status = get(exposition, "/health")[0]
        assert time.monotonic() < deadline, "silent clients keep their places"
    assert status == 200


def test_a_figure_that_fails_is_an_answer_and_a_line_in_the_log(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def describe(self) -> List[Any]:
            return []

        def collect(self) -> Iterator[Any]:
            raise RuntimeError("no figure")

    exposition = process.expose()
    broken = Broken()
    process.registry.register(broken)  # type: ignore[arg-type] # a collector by what it does
    assert get(exposition, "/metrics")[0] == 500
    assert "no figure" in caplog.text
    process.registry.unregister(broken)  # type: ignore[arg-type] # as above
    assert get(exposition, "/metrics")[0] == 200


def test_the_figures_of_a_process_are_its_own(process: Process) -> None:
    add_process_figures(process.registry)
    text = get(process.expose(), "/metrics")[1]
    samples = {
        (sample.name, sample.labels.get("process", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    status = Path("/proc/self/status").read_text()
    rss = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
    assert samples["process_resident_memory_bytes", ""] == pytest.approx(rss, rel=0.2)
    if Path("/proc/self/smaps_rollup").exists():
        assert 0 < samples["edge_agent_process_pss_bytes", "self"] <= rss * 1.2


@pytest.mark.skipif(not Path("/proc/thread-self/children").exists(), reason="this kernel does not say")
def test_children_and_theirs_count_while_they_live() -> None:
    held = 40 << 20
    script = f"kept = bytearray(b'x') * {held}; print(flush=True); input()"
    middle = [
        sys.executable,
        "-c",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])",
        script,
    ]
    before = set(children())
    process = subprocess.Popen(middle, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    found = set(children()) - before
    assert process.pid in found
    assert len(found) == 2
    assert sum(pss_bytes(str(child)) or 0 for child in found) > held
    process.communicate(b"\n")
    assert not found & set(children())


def test_without_prometheus_client_the_extra_is_named(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.setitem(sys.modules, "prometheus_client.exposition", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edge-agent\[metrics\]'"):
        process.expose()
    with pytest.raises(MissingExtraError, match=r"pip install 'edge-agent\[metrics\]'"):
        add_process_figures(process.registry)


def test_a_token_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o640)
    assert read_token(path) == TOKEN
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="is open to every user"):
        read_token(path)
    path.chmod(0o600)
    for text, reason in (("short", "no token of at least 16"), ("é" * 20, "is not ASCII"), ("", "no token")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=reason):
            read_token(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_token(tmp_path / "none")
