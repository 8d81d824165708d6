"""The page of a running inspector, asked as a browser asks it."""

from __future__ import annotations

import http.client
import io
import json
from http import HTTPStatus
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import pytest
from PIL import Image
from support.plant import MODEL, Plant
from support.waiting import until

from edge_agent.agent import Inspector


class Viewer:
    """A browser that has signed in."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._cookie = ""
        code, headers, _ = self.ask("/login", json.dumps({"token": token}).encode())
        assert code == HTTPStatus.OK
        self._cookie = headers["Set-Cookie"].partition(";")[0]

    def ask(self, path: str, body: Any = None) -> Tuple[int, Dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self._address, timeout=20)
        try:
            method = "GET" if body is None else "POST"
            headers = {"Cookie": self._cookie, "Origin": f"http://{self._address}"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def state(self) -> Dict[str, Any]:
        code, _, body = self.ask("/state")
        assert code == HTTPStatus.OK
        state: Dict[str, Any] = json.loads(body)
        return state

    def command(self, **command: Any) -> Dict[str, Any]:
        code, _, body = self.ask("/commands", json.dumps({"id": "c", **command}).encode())
        assert code == HTTPStatus.OK
        reply: Dict[str, Any] = json.loads(body)
        return reply


class Site:
    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        token_file = plant.root / "page.token"
        http_settings = {"address": "127.0.0.1:0", "token_file": str(token_file)}
        configuration = plant.configuration({"a": plant.lane("a"), "b": plant.lane("b")}, http=http_settings)
        file = plant.root / "inspector.json"
        file.write_text(json.dumps(configuration))
        self.inspector: Inspector = plant.start(config_file=file)
        address = until(lambda: plant.operation.http_address, what="serving")
        self.viewer = Viewer(address, token_file.read_text().strip())

    def give_scratched(self) -> None:
        """A part with a red field, which the model of the tests calls a scratch."""
        draft = self.plant.root / "draft.png"
        image = Image.new("RGB", (320, 240), (128, 128, 128))
        image.paste((255, 0, 0), (40, 40, 120, 100))
        image.save(draft)
        draft.rename(self.plant.root / "a" / "scratched.png")

    def album(self, lane: str = "a") -> Dict[str, Any]:
        album: Dict[str, Any] = self.viewer.state()["lanes"][lane].get("album", {"entries": [], "newest": None})
        return album


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    plant = Plant(tmp_path, "classic", monkeypatch.setenv)
    try:
        yield Site(plant)
    finally:
        plant.close()


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/charts.js", "/review.js", "/review.css"])
def test_the_page_loads_nothing_from_elsewhere(site: Site, path: str) -> None:
    code, headers, body = site.viewer.ask(path)
    assert code == HTTPStatus.OK
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    # The name of SVG's elements is no address.
    assert b"://" not in body.replace(b"http://www.w3.org/2000/svg", b"")


def test_a_part_is_seen_with_its_picture_mask_and_books(site: Site) -> None:
    site.album()  # somebody looks
    site.give_scratched()
    newest = until(lambda: site.album()["newest"])
    lane = site.viewer.state()["lanes"]["a"]
    [entry] = lane["album"]["entries"]
    assert (entry["sequence"], entry["anomalous"]) == (newest, True)
    assert [found["name"] for found in entry["classes"]] == ["scratch"]
    assert (lane["model"], lane["state"]) == (MODEL, "running")
    assert lane["books"]["inspected"] == 1
    assert lane["books"]["balanced"]
    for kind, form, size in (
        ("frame", "JPEG", (320, 240)),
        ("mask", "PNG", (320, 240)),
        ("thumbnail", "JPEG", (120, 90)),
    ):
        code, headers, body = site.viewer.ask(f"/lanes/a/{kind}/{newest}")
        assert code == HTTPStatus.OK
        image = Image.open(io.BytesIO(body))
        assert (image.format, image.size) == (form, size)
        assert headers["Content-Type"] == f"image/{form.lower()}"


@pytest.mark.parametrize(
    "path", ["/lanes/a/frame/999", "/lanes/none/frame/1", "/lanes/a/other/1", "/lanes/../x/frame/1"]
)
def test_what_is_not_there_is_not_found(site: Site, path: str) -> None:
    assert site.viewer.ask(path)[0] == HTTPStatus.NOT_FOUND


def test_changes_come_as_events(site: Site) -> None:
    connection = http.client.HTTPConnection(site.viewer._address, timeout=20)
    connection.request("GET", "/events", headers={"Cookie": site.viewer._cookie})
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream"
    site.plant.give("a")
    while True:
        line = answer.readline().decode()
        if line.startswith("data: ") and '"sequence"' in line:
            break
    [entry] = json.loads(line[6:])["lanes"]["a"]["album"]["entries"]
    assert entry["source"] == "000001.png"
    connection.close()


def test_the_page_commands_the_lanes(site: Site) -> None:
    assert site.viewer.command(command="pause", lane="a")["ok"]
    assert site.viewer.state()["lanes"]["a"]["state"] == "paused"
    assert site.viewer.state()["lanes"]["b"]["state"] == "running"
    assert site.viewer.command(command="resume", lane="a")["ok"]
    reply = site.viewer.command(command="set_threshold", lane="a", threshold=0.7)
    assert reply["result"]["threshold"] == 0.7
    assert site.viewer.state()["lanes"]["a"]["threshold"] == 0.7
    assert site.viewer.command(command="set_threshold", lane="a", threshold=None)["ok"]
    assert site.viewer.state()["lanes"]["a"]["threshold"] is None


def test_what_cannot_be_done_is_answered_with_the_reason(site: Site) -> None:
    reply = site.viewer.command(command="pause", lane="none")
    assert (reply["ok"], reply["error"]["code"]) == (False, "not_found")
    reply = site.viewer.command(command="dance")
    assert (reply["ok"], reply["error"]["code"]) == (False, "malformed")
    code, _, body = site.viewer.ask("/commands", b"\xff{")
    assert (code, json.loads(body)["ok"]) == (HTTPStatus.OK, False)


def test_nothing_is_done_by_get(site: Site) -> None:
    assert site.viewer.ask("/commands")[0] == HTTPStatus.METHOD_NOT_ALLOWED
    assert site.viewer.ask("/state", b"{}")[0] == HTTPStatus.METHOD_NOT_ALLOWED


def test_a_viewer_that_fails_costs_no_verdict(site: Site, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def fail(*_arguments: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("edge_agent.page.album.LaneAlbum.look", fail)
    site.plant.give("a", 3)
    until(lambda: site.inspector.accounting()["a"].inspected == 3)
    assert sum("shown no more" in message for message in caplog.messages) == 1
