"""`edge-agent run` and `edge-agent detect` as a user types them: processes, signals, exit codes, one-line errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List

import numpy as np
import pytest
import yaml
from PIL import Image
from support.messages import published
from support.packages import make_package

from edge_agent.greengrass.nucleus import LocalNucleus
from edge_agent.server import ModelServer

MODEL = "com.example.Colours"


def _command(*arguments: str) -> List[str]:
    return [sys.executable, "-m", "edge_agent", *arguments]


def _run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        _command(*arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ModelServer]:
    make_package(tmp_path / "models" / MODEL, version="2.0.0")
    made = ModelServer(tmp_path / "models", str(tmp_path / "server.sock"), threads=1)
    made.start()
    yield made
    made.stop(1.0)


@pytest.fixture
def nucleus(tmp_path: Path) -> Iterator[LocalNucleus]:
    with LocalNucleus(tmp_path / "nucleus.sock", record=tmp_path / "record.jsonl", thing="press-7") as made:
        yield made


@pytest.fixture
def images(tmp_path: Path) -> Path:
    directory = tmp_path / "images"
    directory.mkdir()
    for name, colour in (("good.png", (128, 128, 128)), ("bad.png", (255, 0, 0))):
        Image.new("RGB", (320, 240), colour).save(directory / name)
    return directory


def _configuration(tmp_path: Path, server: ModelServer, images: Path, **camera: Any) -> Path:
    path = tmp_path / "inspector.yaml"
    lane = {"model": MODEL, "camera": {"type": "folder", "path": str(images), "settle_s": 0, **camera}}
    path.write_text(yaml.safe_dump({"socket": server.socket, "lanes": {"line-1": lane}}))
    return path


def test_run_prints_the_accounting_last_and_exits_well(
    tmp_path: Path, server: ModelServer, nucleus: LocalNucleus, images: Path
) -> None:
    config = _configuration(tmp_path, server, images, watch=False)
    done = _run("run", "--config", str(config), **nucleus.environment())
    assert done.returncode == 0, done.stderr
    books = json.loads(done.stdout.splitlines()[-1])["accounting"]["line-1"]
    assert (books["captured"], books["delivered"], books["balanced"]) == (2, 2, True)
    assert "Traceback" not in done.stderr


def test_run_without_a_file_takes_the_components_configuration(
    tmp_path: Path, server: ModelServer, images: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    access = {
        "aws.greengrass.ipc.mqttproxy": {
            "p:1": {
                "operations": ["aws.greengrass#PublishToIoTCore"],
                "resources": ["edge-agent/{iot:thingName}/*"],
            }
        }
    }
    lane = {"model": MODEL, "camera": {"type": "folder", "path": str(images), "watch": False}}
    defaults = {"socket": server.socket, "lanes": {"line-1": lane}, "accessControl": access}
    recipe.write_text(
        yaml.safe_dump(
            {
                "RecipeFormatVersion": "2020-01-25",
                "ComponentName": "com.example.Inspector",
                "ComponentVersion": "1.0.0",
                "ComponentConfiguration": {"DefaultConfiguration": defaults},
                "Manifests": [{"Platform": {"os": "linux", "runtime": "*"}}],
            }
        )
    )
    # Lite turns the YAML recipe's `false` into a string, which must still mean false.
    record = tmp_path / "record.jsonl"
    with LocalNucleus(tmp_path / "lite.sock", recipe=recipe, mode="lite", thing="press-7", record=record) as nucleus:
        done = _run("run", **nucleus.environment())
    assert done.returncode == 0, done.stderr
    topics = {json.loads(line)["topic"] for line in record.read_text().splitlines()}
    assert topics - {"edge-agent/press-7/health"} == {"edge-agent/press-7/inspections"}


def test_sigusr1_prints_the_accounting_and_sigterm_ends_in_order(
    tmp_path: Path, server: ModelServer, nucleus: LocalNucleus, images: Path
) -> None:
    config = _configuration(tmp_path, server, images, watch=True, poll_s=0.02)
    record = tmp_path / "record.jsonl"
    process = subprocess.Popen(
        _command("run", "--config", str(config)),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **nucleus.environment()},
    )
    assert process.stdout is not None
    never = threading.Event()
    for _ in range(600):
        if len(published(record)) == 2:
            break
        never.wait(0.05)
    process.send_signal(signal.SIGUSR1)
    first = json.loads(process.stdout.readline())["accounting"]["line-1"]
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=20)
    last = json.loads(rest.splitlines()[-1])["accounting"]["line-1"]
    assert process.returncode == 0
    assert first["captured"] == last["captured"] == last["delivered"] == 2
    assert last["balanced"]


def test_an_unauthorised_topic_keeps_the_lane_going_and_is_said_once(
    tmp_path: Path, server: ModelServer, images: Path
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(
        json.dumps(
            {
                "RecipeFormatVersion": "2020-01-25",
                "ComponentName": "com.example.Inspector",
                "ComponentVersion": "1.0.0",
                "ComponentConfiguration": {"DefaultConfiguration": {"accessControl": {}}},
                "Manifests": [{"Platform": {"os": "linux", "runtime": "*"}}],
            }
        )
    )
    config = _configuration(tmp_path, server, images, watch=True)
    with LocalNucleus(tmp_path / "nucleus.sock", recipe=recipe, thing="press-7") as nucleus:
        process = subprocess.Popen(
            _command("run", "--config", str(config)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **nucleus.environment()},
        )
        assert process.stderr is not None
        words = next(line for line in process.stderr if "publishing" in line and "waiting" in line)
        threading.Event().wait(2.0)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=20)
    assert "edge-agent/press-7/inspections" in words
    assert "Unauthorized" in words
    assert "publishing" not in errors
    books = json.loads(output.splitlines()[-1])["accounting"]["line-1"]
    assert books["inspected"] == 2
    # They wait for the next run.
    assert (books["spooled"], books["expired"]) == (2, {})
    assert process.returncode == 0


def test_run_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "inspector.yaml"
    config.write_text("lanes: {line-1: {model: m, camera: {type: folder, path: /x}, speed: 9}}")
    for arguments, code, words in (
        (("run", "--config", str(config)), 2, f"{config}: lanes.line-1.speed: is not a known key"),
        (("run", "--config", str(tmp_path / "absent.yaml")), 2, "absent.yaml: cannot be read"),
        (("run",), 1, "is not set"),
        (("run", "--nonsense"), 2, "--nonsense"),
    ):
        done = _run(*arguments)
        assert done.returncode == code, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_detect_gives_verdicts_overlays_and_an_error_per_bad_image(
    tmp_path: Path, server: ModelServer, images: Path
) -> None:
    (images / "torn.png").write_bytes(b"torn")
    overlays = tmp_path / "overlays"
    done = _run(
        "detect", "--model", MODEL, "--socket", server.socket, "--overlay", str(overlays), "--json",
        *(str(images / name) for name in ("good.png", "bad.png", "torn.png")),
    )  # fmt: skip
    assert done.returncode == 1
    good, bad, torn = json.loads(done.stdout)["results"]
    assert (good["is_anomalous"], bad["is_anomalous"]) == (False, True)
    assert bad["model_version"] == "2.0.0"
    assert "torn.png" in torn["error"]
    scratch = next(a for a in bad["anomalies"] if a["name"] == "scratch")
    drawn = np.asarray(Image.open(overlays / "bad.png.overlay.png"))
    colour = tuple(int(scratch["hex_color"][i : i + 2], 16) for i in (1, 3, 5))
    # The whole picture is the class: full colour at its edge, half of it inside.
    assert tuple(drawn[0, 0]) == colour
    assert drawn[120, 160] == pytest.approx((np.array(colour) + np.array([255, 0, 0])) / 2, abs=1)
    assert np.array_equal(
        np.asarray(Image.open(overlays / "good.png.overlay.png")), np.asarray(Image.open(images / "good.png"))
    )


def test_detect_prints_a_table_and_names_a_missing_server_or_model(server: ModelServer, images: Path) -> None:
    done = _run("detect", "--model", MODEL, "--socket", server.socket, str(images / "bad.png"), COLUMNS="200")
    assert done.returncode == 0
    assert "anomalous" in done.stdout
    assert "scratch" in done.stdout
    results: Dict[str, str] = {
        "no such model": _run("detect", "--model", "absent", "--socket", server.socket, str(images / "bad.png")).stderr,
        "no Edge Agent answers": _run(
            "detect", "--model", MODEL, "--socket", "/nowhere.sock", str(images / "bad.png")
        ).stderr,
    }
    for words, stderr in results.items():
        assert words in stderr
        assert "Traceback" not in stderr


@pytest.mark.parametrize("mode", ["classic", "lite"])
def test_the_shipped_recipe_and_one_merged_lane_are_all_it_needs(
    tmp_path: Path, server: ModelServer, images: Path, mode: str
) -> None:
    recipe = Path(__file__).parents[2] / "recipe" / "inspector.yaml"
    record = tmp_path / "record.jsonl"
    camera = {"type": "folder", "path": str(images), "watch": False}
    with LocalNucleus(tmp_path / "gg.sock", recipe=recipe, mode=mode, thing="press-7", record=record) as nucleus:
        # What a deployment's configurationUpdate does.
        nucleus.configure({"socket": server.socket, "lanes": {"line-1": {"model": MODEL, "camera": camera}}})
        done = _run("run", **nucleus.environment())
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    inspections = {(line["topic"], line["qos"]) for line in lines if not line["topic"].endswith("/health")}
    assert inspections == {("edge-agent/press-7/inspections", 1)}
    assert len(published(record)) == 2
