"""Every command in README.md and docs/ is run, here or by the test that is named; none can be added unnoticed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Dict, Iterator, Tuple

import pytest
import yaml
from PIL import Image
from support.messages import published
from support.shell import CHECKOUT, Shell

from edge_agent.sample import render_part

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]

# A line of a code block that begins like this is a command; anything else there is output, data or a picture.
_COMMAND = re.compile(r"^(venv/bin/|edge-agent |scripts/|python |python3 |pip |\. |sudo |aws |mosquitto|git |gdk )")

# Commands of another program's world, and those that other tests run.
ELSEWHERE: Dict[str, str] = {
    r"scripts/demo": "tests/demo/test_demo.py runs the verb; the script only sets up and calls it",
    r"scripts/test( |$)": "it is what runs this test",
    r"scripts/check": "scripts/test runs it",
    r"scripts/faults": "tests/faults runs each experiment in its short form",
    r"scripts/build_components": "tests/recipe/test_component_build.py",
    r"python -m benchmarks": "tests/benchmarks runs each in its quick form",
    r"edge-agent (train|evaluate)": "tests/training; tests/docs/test_from_images.py",
    r"python3 -m zipfile": "tests/docs/test_from_images.py",
    r"edge-agent demo": "tests/demo/test_demo.py",
    r"edge-agent spool": "tests/spool/test_spool_commands.py",
    r"edge-agent config": "tests/agent/test_config_verbs.py",
    r"edge-agent package": "tests/packaging",
    r"edge-agent (cameras|camera-simulator)": "tests/cli/test_cameras_command.py",
    r"edge-agent packaging": "tests/packaging",
    r"edge-agent (plc-simulator|demo --plc)": "tests/plc and tests/demo",
    r"edge-agent deploy": "tests/deployment",
    r"edge-agent doctor": "tests/doctor",
    r"edge-agent recipe": "tests/cli/test_recipe_command.py",
    r"gdk ": "tests/recipe/test_development_kit.py",
    r"pip install|venv/bin/pip|python3 -m venv": "scripts/test makes its environments by the same commands",
    r"mosquitto": "tests/greengrass/test_nucleus_broker.py",
    r"edge-agent nucleus .*--broker": "tests/greengrass/test_nucleus_broker.py",
    r"sudo ": "needs a core device",
    r"aws ": "needs an AWS account",
}


def _commands() -> Iterator[Tuple[str, str]]:
    """(page, command): lines of code blocks, continued lines joined."""
    for page in PAGES:
        fenced, pending = False, ""
        for line in page.read_text().splitlines():
            if line.lstrip().startswith("```"):
                fenced = not fenced
                continue
            if not (fenced or line.startswith("    ")):
                continue
            text = pending + line.strip()
            pending = ""
            if text.endswith("\\") and _COMMAND.match(text):
                pending = text[:-1]
                continue
            text = re.sub(r"\s+# .*$", "", text)
            if _COMMAND.match(text):
                yield page.name, text


COMMANDS = list(_commands())
SYNOPSIS = re.compile(r"\[--|DIR|FILE|COMMAND$")


def _is_run_here(command: str) -> bool:
    return not any(re.match(f"(venv/bin/)?{pattern}", command) for pattern in ELSEWHERE) and not SYNOPSIS.search(
        command
    )


def test_the_pages_have_commands_and_each_is_accounted_for() -> None:
    assert len(COMMANDS) > 20
    verbs = {"serve", "models", "detect", "nucleus", "nucleus-control", "run"}
    here = [command for _, command in COMMANDS if _is_run_here(command)]
    assert {command.split()[1] for command in here if "edge-agent" in command} == verbs
    strangers = [c for c in here if not re.match(r"(venv/bin/)?edge-agent |\. \./", c)]
    assert strangers == [], "neither run here nor listed in ELSEWHERE"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """In a directory with what the commands expect."""
    images = tmp_path / "images"
    images.mkdir()
    for seed, defect in enumerate((None, "scratch", None)):
        Image.fromarray(render_part(seed, defect=defect).image).save(images / f"{seed}.png")
    (images / "1.png").rename(tmp_path / "PICTURE.png")
    page = (CHECKOUT / "docs" / "configuration.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    settings = yaml.safe_load(next(block for block in blocks if "lanes" in block))
    settings["socket"] = str(tmp_path / "edge-agent.sock")
    settings["lanes"]["line-1"]["camera"].update(path=str(images), watch=False)
    for name in ("inspector.yaml", "line.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(settings))
    with Shell(tmp_path) as shell:
        yield shell


def _adapted(command: str, folder: Path) -> str:
    """The same command with this machine's paths."""
    text = command.replace("venv/bin/", "").replace("/tmp/", f"{folder}/")
    for path in ("edge_agent/sample/models", "recipe/inspector.yaml"):
        text = text.replace(path, str(CHECKOUT / path))
    return text


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", ["README.md", "nucleus.md"])
def test_the_commands_of_a_page_run_in_their_order(page: str, shell: Shell) -> None:
    commands = [_adapted(c, shell.folder) for p, c in COMMANDS if p == page and _is_run_here(c)]
    if page == "nucleus.md":
        # This page's inspector needs the server that the first page starts.
        models = CHECKOUT / "edge_agent" / "sample" / "models"
        shell.do(f"edge-agent serve --models {models} --socket {shell.folder}/edge-agent.sock")
    for command in commands:
        shell.do(command)
    if page == "README.md":
        assert (shell.folder / "overlays" / "PICTURE.png.overlay.png").is_file()
        assert len(published(shell.folder / "record.jsonl")) == 2


def test_the_documented_message_is_valid(inspection_schema: Dict[str, object]) -> None:
    import jsonschema

    page = (CHECKOUT / "docs" / "inspection.md").read_text()
    jsonschema.validate(json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0]), inspection_schema)


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
