"""The documented configuration of two cameras of different kinds and rates, a model each, run by `edge-agent run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import yaml
from faults.line import Line, wait_until
from PIL import Image
from support.cameras.video import MjpegRig
from support.packages import make_package

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
PARTS, FRAMES = 8, 20


def _documented() -> Dict[str, Any]:
    section = PAGE.read_text().partition("## Two cameras")[2]
    configuration: Dict[str, Any] = yaml.safe_load(section.partition("```yaml\n")[2].partition("```")[0])
    return configuration


def test_two_cameras_of_different_kinds_and_rates_with_a_model_each(tmp_path: Path) -> None:
    images, models = tmp_path / "images", tmp_path / "models"
    images.mkdir()
    lanes = _documented()["lanes"]
    press, belt = lanes["press-7"], lanes["belt-2"]
    assert press["camera"]["type"] != belt["camera"]["type"]
    assert press["model"] != belt["model"]
    for lane in (press, belt):
        make_package(models / lane["model"])
    stream = MjpegRig(tmp_path)
    stream.start()
    press["camera"]["path"] = str(images)
    belt["camera"]["source"] = stream.settings()["source"]
    line = Line(tmp_path, lanes, models=models)

    def count(camera: str) -> int:
        return sum(message["camera"] == camera for message in line.messages())

    try:
        # One camera gives a part when the one before it was inspected, the other goes on by itself.
        for number in range(PARTS):
            Image.new("RGB", (160, 120), (128, 128, 128)).save(images / f".{number}.png")
            (images / f".{number}.png").rename(images / f"{number}.png")
            wait_until(lambda least=number: count("press-7") > least, "a part was not inspected")
        wait_until(lambda: count("belt-2") >= FRAMES, "the stream was not inspected")
        books = line.finish()
        messages = line.messages()
    finally:
        line.kill_all()
        stream.stop()
    assert set(books) == {"press-7", "belt-2"}
    assert (books["press-7"]["captured"], books["press-7"]["inspected"]) == (PARTS, PARTS)
    for name, lane in lanes.items():
        mine = [message for message in messages if message["camera"] == name]
        book = books[name]
        assert book["balanced"]
        assert (book["in_flight"], book["failed"], book["delivered"]) == (0, {}, len(mine))
        assert book["captured"] == len(mine) + sum(book["dropped"].values())
        assert {message["model"]["component"] for message in mine} == {lane["model"]}
    assert "Traceback" not in line.log()
