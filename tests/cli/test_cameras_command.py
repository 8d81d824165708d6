"""`edge-agent cameras` and `edge-agent camera-simulator` as a user types them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Iterator, List, Type
from unittest import mock

import numpy as np
import pytest
import yaml
from PIL import Image
from support import gige
from support.cameras.rig import Rig
from support.cameras.video import MjpegRig, RtspRig, VideoFileRig

from edge_agent.cli import main
from edge_agent.frame import Pixels
from edge_agent.gige_simulator import SimulatedCamera


def _command(*arguments: str) -> List[str]:
    return [sys.executable, "-m", "edge_agent", *arguments]


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command line in this process: one of its own takes half a second to begin."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code: Any = 0
    with redirect_stdout(stdout), redirect_stderr(stderr), mock.patch.object(sys, "argv", ["edge-agent", *arguments]):
        try:
            main()
        except SystemExit as leave:
            code = leave.code
    return subprocess.CompletedProcess(list(arguments), int(code or 0), stdout.getvalue(), stderr.getvalue())


def _json(*arguments: str) -> Any:
    done = _run(*arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def picture() -> Pixels:
    """Grey, so that a camera that sends Mono8 shows it as it is; a quarter of it saturated."""
    values = np.random.default_rng(3).integers(0, 200, (96, 128), dtype=np.uint8)
    values[:48, :64] = 255
    return np.repeat(values[:, :, None], 3, axis=2)


@pytest.fixture
def simulator(picture: Pixels) -> Iterator[SimulatedCamera]:
    gige.skip_without_aravis()
    camera = gige.simulated([picture], width=128, height=96, mtu=1500, rate=200)
    yield camera
    camera.stop()


def test_list_shows_what_answers_and_what_can_be_opened(simulator: SimulatedCamera) -> None:
    listed = _json("cameras", "list", "--json")
    camera = next(c for c in listed["attached"] if c["target"] == simulator.settings.serial)
    assert (camera["kind"], camera["address"]) == ("genicam", simulator.settings.address)
    assert camera["name"] == "EdgeAgent Simulator"
    kinds = {kind["kind"]: kind["missing"] for kind in listed["kinds"]}
    assert {"folder", "genicam", "sample"} <= set(kinds)
    assert kinds["folder"] is kinds["genicam"] is None
    shown = _run("cameras", "list").stdout
    assert simulator.settings.serial in shown
    assert "genicam: can be opened" in shown


def test_probe_measures_and_asks_the_camera(simulator: SimulatedCamera, picture: Pixels) -> None:
    probed = _json("cameras", "probe", simulator.settings.address, "--json")
    assert (probed["width"], probed["height"]) == (128, 96)
    assert probed["frames"] > 1
    assert probed["frames_per_s"] > 0
    statistics = probed["statistics"]
    assert statistics["mean"] == pytest.approx(picture.mean(), abs=0.01)
    assert (statistics["minimum"], statistics["maximum"], statistics["saturated"]) == (0, 255, 0.25)
    assert statistics["sharpness"] > 1000
    camera = probed["camera"]
    assert (camera["serial"], camera["pixel_format"]) == (simulator.settings.serial, "Mono8")
    assert {"Mono8", "BayerRG12p"} <= set(camera["pixel_formats"])
    assert camera["sensor"] == [128, 96]
    words = _run("cameras", "probe", simulator.settings.serial).stdout
    assert "saturated: 0.25" in words
    assert "region: x 0, y 0, width 128, height 96" in words


def test_snapshot_writes_the_frame(simulator: SimulatedCamera, picture: Pixels, tmp_path: Path) -> None:
    out = tmp_path / "frame.png"
    out.write_bytes(b"an older picture")
    done = _run("cameras", "snapshot", f"genicam:{simulator.settings.address}", "-o", str(out), "--skip", "2")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(out)), picture)
    assert [path.name for path in tmp_path.iterdir()] == ["frame.png"]


def test_the_camera_of_a_lane(simulator: SimulatedCamera, tmp_path: Path) -> None:
    region = {"width": 64, "height": 64, "x": 64, "y": 32}
    lanes = {
        "left": {"model": "com.example.M", "camera": {"type": "sample", "width": 100, "height": 80}},
        "right": {
            "model": "com.example.M",
            "camera": {"type": "genicam", "device": simulator.settings.address, "region": region},
        },
    }
    config = tmp_path / "inspector.yaml"
    config.write_text(yaml.safe_dump({"lanes": lanes}))
    out = tmp_path / "frame.png"
    for lane, size in (("left", (100, 80)), ("right", (64, 64))):
        done = _run("cameras", "snapshot", "--config", str(config), "--lane", lane, "-o", str(out))
        assert done.returncode == 0, done.stderr
        with Image.open(out) as image:
            assert image.size == size
    done = _run("cameras", "probe", "--config", str(config))
    assert done.returncode == 2
    assert "Name one by --lane: left, right" in done.stderr


def test_a_directory_is_a_camera_too(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (80, 70), (number, 0, 0)).save(tmp_path / f"{number}.png")
    probed = _json("cameras", "probe", str(tmp_path), "--json")
    assert (probed["width"], probed["height"], probed["frames"]) == (80, 70, 3)


@pytest.mark.parametrize("kind", [VideoFileRig, RtspRig, MjpegRig], ids=lambda rig: rig.name)
def test_films_and_streams_are_cameras_too(kind: Type[Rig], tmp_path: Path) -> None:
    if kind.missing():
        pytest.skip(f"not here: {kind.missing()}")
    rig = kind(tmp_path)
    rig.start()
    try:
        out = tmp_path / "frame.png"
        done = _run("cameras", "snapshot", str(rig.settings()["source"]), "-o", str(out))
        assert done.returncode == 0, done.stderr
        with Image.open(out) as image:
            rig.check(np.asarray(image))
    finally:
        rig.stop()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["probe"], 2, "Give either a camera or --config"),
        (["probe", "a", "--config", "b"], 2, "Give either a camera or --config"),
        (["probe", "a", "--lane", "b"], 2, "--lane goes with --config"),
        (["snapshot", "sample:", "-o", "picture.jpg"], 2, "must end in .png"),
        (["snapshot", "sample:", "-o", "/nowhere/picture.png"], 1, "/nowhere/picture.png: cannot be written"),
        (["probe", "/nowhere/film.mp4"], 1, "/nowhere/film.mp4"),
        (["probe", "rtsp://user:secret@127.0.0.1:1/x"], 1, "rtsp://127.0.0.1:1/x"),
        (["probe", "rtsp://user:secret@/x@y"], 2, "rtsp://"),
    ],
)
def test_errors_are_one_line(arguments: List[str], code: int, words: str) -> None:
    done = _run("cameras", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_a_camera_that_gives_nothing_is_an_error(simulator: SimulatedCamera) -> None:
    simulator.set_silent(True)
    done = _run("cameras", "probe", simulator.settings.address, "--timeout", "0.5")
    assert done.returncode == 1
    assert "gave no frame within 0.5 s" in done.stderr


def test_the_simulator_is_a_camera_until_it_is_told_to_stop(tmp_path: Path) -> None:
    gige.skip_without_aravis()
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (200, 100), (7, 7, 7)).save(pictures / "a.png")
    address = gige.free_address()
    serial = f"P{os.getpid()}"
    process = subprocess.Popen(
        _command(
            "camera-simulator", "--address", address, "--serial", serial, "--size", "64", "64", "--line-hz", "50",
            "--pictures", str(pictures),
        ),
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"simulated camera {serial} at {address}: 64 x 64 pixels\n"
        out = tmp_path / "frame.png"
        done = _run("cameras", "snapshot", address, "-o", str(out))
        assert done.returncode == 0, done.stderr
        assert np.asarray(Image.open(out)).tolist() == [[[7, 7, 7]] * 64] * 64
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(rest)["images"] >= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--address", "10.255.255.1"], "cannot listen on 10.255.255.1:3956"),
        (["--size", "63", "64"], "`width` and `height` must be 64 to 4096"),
        (["--pictures", "."], "has no images in it"),
    ],
)
def test_a_simulator_that_cannot_be_says_why(
    arguments: List[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # It takes the process's signals, which is for a process of its own.
    monkeypatch.setattr("edge_agent.cli.camera_simulator.on_signals", lambda actions: None)
    done = _run("camera-simulator", *arguments)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
