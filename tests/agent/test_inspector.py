"""The inspector against the real model server and the local nucleus, all over their real sockets."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import jsonschema
import numpy as np
import pytest
from PIL import Image
from support.messages import published
from support.packages import make_package
from support.waiting import until

from edge_agent.agent import Inspector, read_settings
from edge_agent.clock import SystemClock
from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.nucleus import LocalNucleus
from edge_agent.server import ModelServer

MODEL = "com.example.Colours"
GREY, RED = (128, 128, 128), (255, 0, 0)


def _image(path: Path, spot: Optional[Any] = None, size: Any = (320, 240)) -> None:
    """Grey, with a spot of another colour in one corner."""
    image = Image.new("RGB", size, GREY)
    if spot is not None:
        image.paste(spot, (0, 0, size[0] // 4, size[1] // 4))
    image.save(path)


class Site:
    """Folders, sockets, server and nucleus of one test."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = root / "images"
        self.models = root / "models"
        self.socket = str(root / "server.sock")
        self.record = root / "record.jsonl"
        self.images.mkdir()
        self.models.mkdir()
        make_package(self.models / MODEL, version="3.1.4")
        self.nucleus = LocalNucleus(root / "nucleus.sock", record=self.record, thing="press-7")
        self.nucleus.start()
        for name, value in self.nucleus.environment().items():
            monkeypatch.setenv(name, value)
        self.server: Optional[ModelServer] = None

    def start_server(self) -> None:
        self.server = ModelServer(self.models, self.socket, threads=1)
        self.server.start()

    def stop_server(self) -> None:
        if self.server is not None:
            self.server.stop(1.0)
            self.server = None

    def inspector(self, *, topic: str = "test/{thing}/inspections", **lane: Any) -> Inspector:
        settings = {
            "socket": self.socket,
            "publish": {"topic": topic},
            "lanes": {
                "line-1": {
                    "model": MODEL,
                    "camera": {"type": "folder", "path": str(self.images), "watch": False},
                    **lane,
                }
            },
        }
        return Inspector(
            read_settings(settings, "test", thing="press-7"),
            thing="press-7",
            connect=IpcClient.connect,
            clock=SystemClock(),
        )

    def messages(self) -> List[Dict[str, Any]]:
        return published(self.record)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path, monkeypatch)
    yield made
    made.stop_server()
    made.nucleus.stop()


def _books(inspector: Inspector) -> Dict[str, Any]:
    snapshot = inspector.accounting()["line-1"]
    assert snapshot.balanced()
    return snapshot.as_dict()


def _run_in_background(inspector: Inspector, stop: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=inspector.run, args=(stop,), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("pixels", ["shared_memory", "bytes"])
def test_every_frame_becomes_one_valid_message(site: Site, inspection_schema: Dict[str, Any], pixels: str) -> None:
    site.start_server()
    for number in range(6):
        _image(site.images / f"{number}.png", RED if number % 3 == 0 else None)
    inspector = site.inspector(pixels=pixels)
    assert inspector.run(threading.Event()) is True
    messages = site.messages()
    for message in messages:
        jsonschema.validate(message, inspection_schema)
    assert [message["sequence"] for message in messages] == [1, 2, 3, 4, 5, 6]
    by_source = {message["image"]["source"]: message for message in messages}
    assert {source for source, m in by_source.items() if m["is_anomalous"]} == {"0.png", "3.png"}
    anomalies = {a["name"]: a["area"] for a in by_source["0.png"]["anomalies"]}
    assert anomalies["scratch"] == pytest.approx(1 / 16, abs=0.01)
    assert sum(anomalies.values()) == pytest.approx(1, abs=1e-4)
    assert by_source["0.png"]["model"] == {"component": MODEL, "version": "3.1.4"}
    assert by_source["0.png"]["thing"] == "press-7"
    assert by_source["0.png"]["image"]["width"] == 320
    books = _books(inspector)
    assert (books["captured"], books["inspected"], books["delivered"]) == (6, 6, 6)


def test_bad_files_are_counted_and_the_lane_goes_on(site: Site) -> None:
    site.start_server()
    _image(site.images / "a-good.png")
    (site.images / "b-empty.png").write_bytes(b"")
    (site.images / "c-torn.png").write_bytes((site.images / "a-good.png").read_bytes()[:60])
    _image(site.images / "d-small.png", size=(63, 100))
    Image.fromarray(np.full((100, 100), 128, np.uint8)).save(site.images / "e-grey.png")
    inspector = site.inspector()
    assert inspector.run(threading.Event()) is True
    books = _books(inspector)
    assert books["captured"] == 5
    assert books["failed"] == {"image": 3}
    assert books["delivered"] == 2


def test_frames_wait_for_a_server_that_comes_later_and_for_one_that_comes_back(site: Site) -> None:
    for number in range(4):
        _image(site.images / f"{number}.png")
    inspector = site.inspector()
    thread = _run_in_background(inspector, threading.Event())
    until(lambda: inspector.accounting()["line-1"].captured >= 2)
    assert inspector.accounting()["line-1"].inspected == 0
    site.start_server()
    thread.join(30)
    assert not thread.is_alive()
    assert _books(inspector)["delivered"] == 4


def test_a_model_deployed_later_is_waited_for(site: Site) -> None:
    site.start_server()
    _image(site.images / "0.png")
    (site.models / MODEL).rename(site.models.parent / "elsewhere")
    inspector = site.inspector()
    thread = _run_in_background(inspector, threading.Event())
    until(lambda: inspector.accounting()["line-1"].captured == 1)
    (site.models.parent / "elsewhere").rename(site.models / MODEL)
    thread.join(30)
    assert _books(inspector)["delivered"] == 1


def test_a_stop_while_frames_wait_counts_them_dropped(site: Site) -> None:
    for number in range(5):
        _image(site.images / f"{number}.png")
    inspector = site.inspector()
    stop = threading.Event()
    thread = _run_in_background(inspector, stop)
    until(lambda: inspector.accounting()["line-1"].captured >= 2)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    books = _books(inspector)
    assert books["in_flight"] == 0
    assert books["dropped"] == {"stopped": books["captured"]}


def test_files_are_deleted_when_they_are_inspected_and_a_stop_keeps_the_others(site: Site) -> None:
    for number in range(5):
        _image(site.images / f"{number}.png")
    (site.images / "torn.png").write_bytes((site.images / "0.png").read_bytes()[:60])
    camera = {"type": "folder", "path": str(site.images), "watch": False, "done": "delete"}
    stopped = site.inspector(camera=camera)
    stop = threading.Event()
    thread = _run_in_background(stopped, stop)
    until(lambda: stopped.accounting()["line-1"].captured >= 2)
    stop.set()
    thread.join(10)
    assert len(list(site.images.iterdir())) == 6
    site.start_server()
    inspector = site.inspector(camera=camera)
    assert inspector.run(threading.Event()) is True
    books = _books(inspector)
    assert (books["captured"], books["delivered"], books["failed"]) == (6, 5, {"image": 1})
    until(lambda: [path.name for path in site.images.iterdir()] == ["torn.png"])


def test_two_lanes_of_different_kinds_share_a_model_and_their_books_add_up(site: Site) -> None:
    site.start_server()
    for number in range(4):
        _image(site.images / f"{number}.png")
    lanes = {
        "folder": {"type": "folder", "path": str(site.images), "watch": False},
        "parts": {"type": "sample", "rate": 0, "count": 3},
    }
    settings = {"socket": site.socket, "lanes": {n: {"model": MODEL, "camera": c} for n, c in lanes.items()}}
    inspector = Inspector(
        read_settings(settings, "test", thing="press-7"),
        thing="press-7",
        connect=IpcClient.connect,
        clock=SystemClock(),
    )
    assert inspector.run(threading.Event()) is True
    snapshots = inspector.accounting()
    assert {name: snapshot.delivered for name, snapshot in snapshots.items()} == {"folder": 4, "parts": 3}
    assert all(snapshot.balanced() for snapshot in snapshots.values())


def test_an_outage_of_the_nucleus_delays_messages_and_loses_none(site: Site) -> None:
    site.start_server()
    for number in range(5):
        _image(site.images / f"{number}.png")
    site.nucleus.command("full")
    inspector = site.inspector()
    thread = _run_in_background(inspector, threading.Event())
    until(lambda: inspector.accounting()["line-1"].inspected == 5)
    site.nucleus.command("restart", down_for=1.0)
    site.nucleus.command("reset")
    thread.join(30)
    assert [m["sequence"] for m in site.messages()] == [1, 2, 3, 4, 5]
    assert _books(inspector)["delivered"] == 5


def test_what_an_outage_leaves_is_delivered_first_by_the_next_run(site: Site) -> None:
    site.start_server()
    for number in range(4):
        _image(site.images / f"{number}.png")
    site.nucleus.command("full")
    stop = threading.Event()
    first = site.inspector()
    thread = _run_in_background(first, stop)
    until(lambda: first.accounting()["line-1"].inspected == 4)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert _books(first)["spooled"] == 4
    site.nucleus.command("reset")
    second = site.inspector()
    assert second.run(threading.Event()) is True
    # The folder's files are seen anew; numbers go on.
    assert [message["sequence"] for message in site.messages()] == list(range(1, 9))
    books = _books(second)
    assert (books["carried"], books["inspected"], books["delivered"]) == (4, 4, 8)
    assert second.report()["spool"]["on_disk"] == 0
