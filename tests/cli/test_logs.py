"""The log as a collector reads it: one JSON object a line, whatever happens, and no secret in it."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from PIL import Image
from support.packages import make_package

from edge_agent.cli.logs import JsonLines
from edge_agent.greengrass.nucleus import LocalNucleus

# journald's LineMax: a longer line is stored as two.
LINE_MAX = 48 * 1024


def record(message: str, *args: Any, **more: Any) -> logging.LogRecord:
    extra = more.pop("extra", {})
    made = logging.getLogger("edge_agent.test").makeRecord(
        "edge_agent.test", logging.WARNING, "file.py", 1, message, args, more.get("exc_info"), extra=extra
    )
    made.created = 1_700_000_000.25
    return made


def line_of(made: logging.LogRecord) -> Dict[str, Any]:
    line = JsonLines().format(made)
    assert "\n" not in line
    assert line.isascii(), "any locale can write it"
    assert len(line) < LINE_MAX
    document: Dict[str, Any] = json.loads(line)
    return document


def test_a_line_has_these_fields_and_those_of_the_event() -> None:
    assert line_of(record("%s: %s", "bolts", "RUNNING", extra={"component": "bolts", "status": "RUNNING"})) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "WARNING",
        "logger": "edge_agent.test",
        "message": "bolts: RUNNING",
        "component": "bolts",
        "status": "RUNNING",
    }


def test_an_exception_is_part_of_its_line() -> None:
    try:
        int("two\nlines \N{SNOWMAN}")
    except ValueError:
        document = line_of(record("failed", exc_info=sys.exc_info()))
    assert document["exception"].startswith("Traceback (most recent call last):\n")
    assert document["exception"].endswith("'two\\nlines \N{SNOWMAN}'")


def test_long_texts_keep_both_ends_and_fit_a_line_of_the_journal() -> None:
    text = "begin" + "\N{SNOWMAN}" * 100_000 + "end"
    document = line_of(record(text, extra={"path": text, "other": Path("/x")}))
    for key in ("message", "path"):
        assert document[key].startswith("begin")
        assert document[key].endswith("end")
    assert document["other"] == "/x"


def test_a_field_cannot_take_the_place_of_a_fixed_one() -> None:
    assert line_of(record("words", extra={"level": "x", "time": "y", "logger": "z"}))["level"] == "WARNING"


def command(*arguments: str) -> List[str]:
    return [sys.executable, "-m", "edge_agent", *arguments]


def documents(text: str) -> List[Dict[str, Any]]:
    """Each line as what it is; fails on a line that is no JSON object."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(one, dict) for one in found)
    for one in found:
        when = datetime.strptime(one["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
        assert abs((datetime.now(timezone.utc) - when).total_seconds()) < 300
    return found


@pytest.fixture
def served(tmp_path: Path, socket_path: str) -> Iterator["subprocess.Popen[str]"]:
    """`edge-agent serve` as a component runs it, with a model that starts, one that fails, and figures."""
    make_package(tmp_path / "models" / "bolts")
    make_package(tmp_path / "models" / "torn")
    (tmp_path / "models" / "torn" / "mochi" / "model.onnx").write_bytes(b"")
    token = tmp_path / "token"
    token.write_text("a secret of some length")
    token.chmod(0o600)
    environment = {
        **os.environ,
        "EDGE_AGENT_MODELS": str(tmp_path / "models"),
        "EDGE_AGENT_SOCKET": socket_path,
        "EDGE_AGENT_AUTOSTART": "bolts torn",
        "EDGE_AGENT_LOG_FORMAT": "json",
        "EDGE_AGENT_LOG_LEVEL": "debug",
        "EDGE_AGENT_METRICS": "127.0.0.1:0",
        "EDGE_AGENT_METRICS_TOKEN_FILE": str(token),
    }
    process = subprocess.Popen(command("serve"), stderr=subprocess.PIPE, text=True, env=environment)
    yield process
    process.kill()
    process.communicate()


def test_serve_logs_json_and_shows_its_figures_to_who_bears_the_token(served: "subprocess.Popen[str]") -> None:
    assert served.stderr is not None
    lines: List[str] = []
    wanted = {("bolts", "RUNNING"), ("torn", "FAILED")}
    address = ""
    for line in served.stderr:
        lines.append(line)
        document = json.loads(line)
        wanted.discard((document.get("component"), document.get("status")))
        address = (re.findall(r"http://(\S+)/metrics", document["message"]) or [address])[0]
        if not wanted and address:
            break
    assert not wanted
    connection = http.client.HTTPConnection(address, timeout=30)
    for headers, status in (({}, 401), ({"Authorization": "Bearer a secret of some length"}, 200)):
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == status
    connection.close()
    assert 'edge_agent_server_model_state{model="bolts",state="RUNNING"} 1.0' in text
    served.send_signal(signal.SIGTERM)
    rest = served.communicate(timeout=30)[1]
    assert served.returncode == 0
    found = documents("".join(lines) + rest)
    failed = next(one for one in found if one.get("status") == "FAILED")
    assert (failed["level"], failed["component"]) == ("ERROR", "torn")
    assert "secret" not in "".join(lines) + rest


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )


def test_the_last_word_of_a_command_that_fails_is_a_line_like_the_others(tmp_path: Path, socket_path: str) -> None:
    done = run("serve", "--models", str(tmp_path / "none"), "--socket", socket_path, "--log-format", "json")
    assert done.returncode == 1
    [last] = documents(done.stderr)
    assert (last["level"], last["message"]) == (
        "ERROR",
        f"{tmp_path / 'none'}: is no directory of models. Create it, or choose another.",
    )
    done = run("run", "--config", str(tmp_path / "none.yaml"), EDGE_AGENT_LOG_FORMAT="json")
    assert done.returncode == 2
    assert documents(done.stderr)[-1]["level"] == "ERROR"
    done = run("serve", "--models", str(tmp_path), "--socket", socket_path, "--metrics", "192.0.2.1:9464")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: 192.0.2.1:9464: can be reached from other machines")


def test_an_error_that_nobody_caught_is_a_line_too() -> None:
    script = (
        "import threading, warnings\n"
        "from edge_agent.cli.logs import set_up_logging\n"
        "set_up_logging('info', 'json')\n"
        "warnings.warn('old')\n"
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()\n"
        "{}['x']\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    warned, thread, last = documents(done.stderr)
    assert "old" in warned["message"]
    assert "ZeroDivisionError" in thread["exception"]
    assert "KeyError" in last["exception"]
    assert done.returncode == 1


def test_run_takes_its_form_from_its_configuration_and_keeps_the_nucleus_token(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (320, 240), (128, 128, 128)).save(images / "one.png")
    (images / "torn.png").write_bytes(b"no image")
    camera = {"type": "folder", "path": str(images), "watch": False, "settle_s": 0}
    config = tmp_path / "inspector.json"
    settings = {"socket": str(tmp_path / "nobody"), "log_format": "json", "lanes": {"line-1": {"model": "bolts"}}}
    settings["lanes"]["line-1"]["camera"] = camera  # type: ignore[index] # a document
    config.write_text(json.dumps(settings))
    nucleus = LocalNucleus(tmp_path / "nucleus.sock", record=tmp_path / "record.jsonl", thing="press-7")
    with nucleus:
        process = subprocess.Popen(
            command("run", "--config", str(config), "--log-level", "debug"),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **nucleus.environment()},
        )
        assert process.stderr is not None
        lines: List[str] = []
        wanted = {"frame lost", "no Edge Agent answers"}
        while wanted:
            lines.append(process.stderr.readline())
            assert lines[-1], "it ended early"
            wanted = {words for words in wanted if words not in lines[-1]}
        process.send_signal(signal.SIGTERM)
        lines.append(process.communicate(timeout=30)[1])
    text = "".join(lines)
    assert nucleus.token not in text
    lost = next(one for one in documents(text) if "frame lost" in one["message"])
    assert (lost["lane"], lost["cause"]) == ("line-1", "image")
