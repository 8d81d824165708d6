"""The review over HTTP, of a running inspector: what is found, shown and judged, and what is refused."""

from __future__ import annotations

import http.client
import io
import json
from http import HTTPStatus
from pathlib import Path
from typing import Any, Dict, Iterator, List
from urllib.parse import quote

import pytest
from page.test_live_page import Viewer
from PIL import Image
from support.plant import Plant
from support.waiting import until


class Site:
    """An inspector that records all parts of lane a: two normal ones and then one with a scratch."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        token_file = plant.root / "page.token"
        self.recorded = plant.root / "recorded"
        file = plant.root / "inspector.json"
        recorder = {"path": str(self.recorded), "rules": {"all": {}}, "lanes": ["a"], "free_bytes": 0, "queue": 100}
        http_settings = {"address": "127.0.0.1:0", "token_file": str(token_file)}
        lanes = {"a": plant.lane("a"), "b": plant.lane("b")}
        file.write_text(json.dumps(plant.configuration(lanes, http=http_settings, recorder=recorder)))
        plant.start(config_file=file)
        self.address = until(lambda: plant.operation.http_address, what="serving")
        self.token = token_file.read_text().strip()
        self.viewer = Viewer(self.address, self.token)
        plant.give("a", 2)
        draft = plant.root / "draft.png"
        image = Image.new("RGB", (320, 240), (128, 128, 128))
        image.paste((255, 0, 0), (40, 40, 120, 100))
        image.save(draft)
        until(lambda: len(self.lines()) == 2)
        draft.rename(plant.root / "a" / "scratched.png")
        until(lambda: len(self.lines()) == 3)
        self.names = [Path(line["source-ref"]).stem for line in self.lines()]

    def lines(self) -> List[Dict[str, Any]]:
        manifest = self.recorded / "a.manifest"
        return [json.loads(line) for line in manifest.read_text().splitlines()] if manifest.exists() else []

    def find(self, query: str = "") -> Dict[str, Any]:
        code, _, body = self.viewer.ask(f"/review/a?{query}")
        assert code == HTTPStatus.OK
        found: Dict[str, Any] = json.loads(body)
        return found

    def review(self, name: str, body: Any, lane: str = "a") -> Any:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        code, headers, answer = self.viewer.ask(f"/review/{lane}/{name}", payload)
        assert headers["Content-Type"] == "application/json"
        return code, json.loads(answer)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    patch = pytest.MonkeyPatch()
    plant = Plant(tmp_path_factory.mktemp("plant"), "classic", patch.setenv)
    try:
        yield Site(plant)
    finally:
        plant.close()
        patch.undo()


def test_lanes_that_have_images_are_named(site: Site) -> None:
    code, _, body = site.viewer.ask("/review")
    assert (code, json.loads(body)) == (HTTPStatus.OK, {"recording": True, "lanes": ["a"]})


def test_images_are_told_with_what_the_model_said(site: Site) -> None:
    found = site.find()
    assert (found["recorded"], found["matching"], found["reasons"]) == (3, 3, {"rule all": 3})
    assert [image["name"] for image in found["images"]] == site.names[::-1]
    newest = found["images"][0]
    assert (newest["anomalous"], newest["label"], newest["by_person"], newest["review"]) == (
        True,
        "anomaly",
        False,
        None,
    )
    assert [one["name"] for one in newest["classes"]] == ["scratch"]
    assert newest["source"] == "scratched.png"
    assert [image["name"] for image in site.find("verdict=normal&most=1")["images"]] == [site.names[1]]
    assert [image["name"] for image in site.find(f"before={site.names[1]}")["images"]] == [site.names[0]]
    assert site.find("class=scratch&for=rule%20all&reviewed=no")["matching"] == 1
    assert site.find("below=0&since=0&until=1e12")["matching"] == 0


def test_pictures_are_those_of_the_image(site: Site) -> None:
    for kind, form, size in (
        ("thumbnail", "JPEG", (120, 90)),
        ("frame", "JPEG", (320, 240)),
        ("mask", "PNG", (320, 240)),
    ):
        code, headers, body = site.viewer.ask(f"/review/a/{site.names[2]}/{kind}")
        assert code == HTTPStatus.OK
        image = Image.open(io.BytesIO(body))
        assert (image.format, image.size, headers["Content-Type"]) == (form, size, f"image/{form.lower()}")
    code, _, body = site.viewer.ask(f"/review/a/{site.names[0]}/mask")
    assert (code, json.loads(body)["status"]) == (HTTPStatus.NOT_FOUND, f"there is no mask of {site.names[0]}")


def test_a_review_is_written_counted_and_taken_back(site: Site) -> None:
    before = site.lines()
    code, image = site.review(site.names[2], {"verdict": "wrong", "note": "only dust"})
    assert (code, image["label"], image["by_person"]) == (HTTPStatus.OK, "normal", True)
    assert image["review"] == {"verdict": "wrong", "note": "only dust"}
    until(lambda: site.lines()[2]["anomaly-label"] == 0)
    found = site.find("reviewed=yes")
    assert (found["matching"], found["right"], found["wrong"]) == (1, 0, 1)
    assert site.review(site.names[2], {"verdict": None})[1]["review"] is None
    until(lambda: site.lines() == before)
    _, _, figures = site.viewer.ask("/metrics")
    for word in ("wrong", "undone"):
        assert f'edge_agent_inspector_recorder_reviewed_total{{lane="a",review="{word}"}} 1.0' in figures.decode()


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("verdict=bad", "Invalid enum value 'bad'"),
        ("below=2", "`below` must be 0 to 1"),
        ("most=0", "`most` must be 1 to 100"),
        ("most=1000000", "`most` must be 1 to 100"),
        ("since=yesterday", "Expected"),
        ("colour=red", "unknown field `colour`"),
        (f"class={'x' * 300}", "more than 200 characters"),
        ("&".join(f"most={n}" for n in range(1, 20)), "Max number of fields exceeded"),
    ],
)
def test_a_search_that_cannot_be_is_refused(site: Site, query: str, reason: str) -> None:
    code, _, body = site.viewer.ask(f"/review/a?{query}")
    assert code == HTTPStatus.BAD_REQUEST
    assert reason in json.loads(body)["status"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[]", b"{}", b'{"verdict":"maybe"}', b'{"verdict":"right","x":1}']
)
def test_a_review_that_cannot_be_is_refused(site: Site, body: bytes) -> None:
    before = site.lines()
    code, answer = site.review(site.names[0], body)
    assert (code, list(answer)) == (HTTPStatus.BAD_REQUEST, ["status"])
    assert site.lines() == before


def test_a_note_is_bounded(site: Site) -> None:
    code, answer = site.review(site.names[0], {"verdict": "right", "note": "x" * 501})
    assert code == HTTPStatus.BAD_REQUEST
    assert "a note has at most 500 characters" in answer["status"]
    code, answer = site.review(site.names[0], b"x" * 70_000)
    assert code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize(
    "name",
    ["..", "%2e%2e", "..%2f..%2fa.manifest", "a.manifest", "20261121T140530.123456Z_a_1", "%00", "x" * 5000, ".lock"],
)
@pytest.mark.parametrize("kind", ["/frame", "/mask", "/thumbnail", ""])
def test_names_of_nothing_recorded_lead_nowhere(site: Site, name: str, kind: str) -> None:
    body = None if kind else b'{"verdict":"right"}'
    code, _, answer = site.viewer.ask(f"/review/a/{name}{kind}", body)
    assert code == HTTPStatus.NOT_FOUND
    assert len(json.loads(answer)["status"]) < 300


def test_a_path_that_climbs_is_no_page(site: Site) -> None:
    for path in ("/review/a/../../etc/passwd", "/review/a/../a.manifest/frame", "/review/../../x", "/review/a/x/y/z"):
        assert site.viewer.ask(path)[0] in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


@pytest.mark.parametrize("lane", ["b", "none", "%2e%2e", quote("ä")])
def test_an_unknown_lane_has_no_images(site: Site, lane: str) -> None:
    code, _, body = site.viewer.ask(f"/review/{lane}")
    assert code == HTTPStatus.NOT_FOUND
    assert "has no recorded images" in json.loads(body)["status"]
    assert site.review(site.names[0], {"verdict": "right"}, lane)[0] == HTTPStatus.NOT_FOUND


def test_nothing_is_done_by_get(site: Site) -> None:
    assert site.viewer.ask(f"/review/a/{site.names[0]}")[0] == HTTPStatus.METHOD_NOT_ALLOWED
    for path in ("/review", "/review/a", f"/review/a/{site.names[0]}/frame"):
        assert site.viewer.ask(path, b"{}")[0] == HTTPStatus.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, HTTPStatus.UNAUTHORIZED),
        ({"Authorization": "Bearer wrong-wrong-wrong"}, HTTPStatus.UNAUTHORIZED),
        ({"Cookie": "own", "Origin": "http://elsewhere"}, HTTPStatus.FORBIDDEN),
        ({"Authorization": "own"}, HTTPStatus.OK),
    ],
)
def test_who_may_review_is_who_may_command(site: Site, headers: Dict[str, str], expected: HTTPStatus) -> None:
    own = {"Cookie": site.viewer._cookie, "Authorization": f"Bearer {site.token}"}
    sent = {name: own[name] if value == "own" else value for name, value in headers.items()}
    connection = http.client.HTTPConnection(site.address, timeout=20)
    try:
        connection.request("POST", f"/review/a/{site.names[0]}", b'{"verdict":"right"}', sent)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == expected
        if expected == HTTPStatus.UNAUTHORIZED:
            connection.request("GET", f"/review/a/{site.names[0]}/frame", headers=sent)
            assert connection.getresponse().status == expected
    finally:
        connection.close()


def test_an_image_that_went_is_named(site: Site) -> None:
    [line] = [line for line in site.lines() if Path(line["source-ref"]).stem == site.names[1]]
    image = site.recorded / line["source-ref"]
    kept = image.read_bytes()
    image.unlink()
    code, answer = site.review(site.names[1], {"verdict": "right"})
    assert code == HTTPStatus.NOT_FOUND
    assert answer["status"].endswith("is not recorded, or not any more")
    image.write_bytes(b"torn")
    assert site.viewer.ask(f"/review/a/{site.names[1]}/frame")[0] == HTTPStatus.NOT_FOUND
    image.write_bytes(kept)
    assert site.viewer.ask(f"/review/a/{site.names[1]}/frame")[0] == HTTPStatus.OK


def test_without_a_recorder_the_review_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = Plant(tmp_path, "classic", monkeypatch.setenv)
    try:
        file, token = plant.root / "inspector.json", plant.root / "page.token"
        http_settings = {"address": "127.0.0.1:0", "token_file": str(token)}
        file.write_text(json.dumps(plant.configuration({"a": plant.lane("a")}, http=http_settings)))
        plant.start(config_file=file)
        viewer = Viewer(until(lambda: plant.operation.http_address), token.read_text().strip())
        assert json.loads(viewer.ask("/review")[2]) == {"recording": False, "lanes": []}
        code, _, body = viewer.ask("/review/a")
        assert (code, json.loads(body)["status"]) == (
            HTTPStatus.CONFLICT,
            "recorder: is not configured. Set `recorder.path`.",
        )
    finally:
        plant.close()
