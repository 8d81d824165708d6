"""`edge-agent deploy --local`: what is asked of the nuclei's own command lines, which stand-ins on the PATH record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
import yaml
from cli.conftest import Done

from edge_agent.packaging.recipe import read_recipe

Command = Callable[..., Done]
INSPECTOR, SERVER = "com.edgeagent.Inspector", "com.edgeagent.ModelServer"
RECIPES = Path(__file__).parents[2] / "recipe"
# As greengrass-cli 2.x prints it.
LISTED = f"""Components currently running in Greengrass:
Component Name: com.example.Other
    Version: 3.2.1
    State: RUNNING
    Configuration: {{"a":1}}
Component Name: {INSPECTOR}
    Version: 0.0.9
    State: RUNNING
    Configuration: {{}}
"""
CREATED = "Local deployment submitted! Deployment Id: 5f0b-11"


def write(directory: Path, **document: Any) -> str:
    path = directory / "deployment.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Directories as scripts/build_components lays them out, with the project's own recipes."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "artifacts").mkdir()
    for file in (RECIPES / "inspector.yaml", RECIPES / "model-server.yaml"):
        recipe = read_recipe(file)
        name = f"{recipe['ComponentName']}-{recipe['ComponentVersion']}.json"
        (tmp_path / "recipes" / name).write_text(json.dumps(recipe, indent=2))
    return tmp_path


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.cli.deploy._POLL_S", 0.01)


def test_the_classic_nucleus_gets_everything_the_file_says(command: Command, stand_in: Any, places: Path) -> None:
    answers = {
        "component list": LISTED,
        "deployment create": CREATED,
        "deployment status": ["", "", "5f0b-11: IN_PROGRESS", "5f0b-11: SUCCEEDED"],
    }
    calls = stand_in("greengrass-cli", answers)
    file = write(
        places,
        components={
            INSPECTOR: {
                "version": "0.1.0",
                "merge": {"publish": {"qos": 1}},
                "reset": ["/lanes"],
                "run_with": {"posix_user": "a:b", "memory_kb": 1000, "cpus": 1.5},
            },
            "com.example.Other": {"merge": {"a": 2}},
        },
        remove=["com.example.Old"],
        on_failure="ROLLBACK",
        device_timeout_min=5,
    )
    options = ["--recipes", str(places / "recipes"), "--artifacts", str(places / "artifacts")]
    done = command("deploy", "--local", "--file", file, "--yes", *options)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1:] == [
        "  ~ com.edgeagent.Inspector 0.0.9 -> 0.1.0",
        "  ~ com.edgeagent.Inspector: merge, reset, run_with",
        "  ~ com.example.Other: merge",
        "  - com.example.Old",
        "without meaning here, left out: device_timeout_min",
        "deployment 5f0b-11",
        "local deployment 5f0b-11: SUCCEEDED",
    ]
    listed, create, *status = calls()
    assert listed == ["component", "list"]
    update = create.index("--update-config") + 1
    assert json.loads(create.pop(update)) == {
        INSPECTOR: {"RESET": ["/lanes"], "MERGE": {"publish": {"qos": 1}}},
        "com.example.Other": {"MERGE": {"a": 2}},
    }
    assert create == [
        *("deployment", "create", "--recipeDir", str(places / "recipes"), "--artifactDir", str(places / "artifacts")),
        *("--merge", f"{INSPECTOR}=0.1.0", "--merge", "com.example.Other=3.2.1", "--remove", "com.example.Old"),
        *("--update-config", "--runWith", f"{INSPECTOR}:posixUser=a:b"),
        *("--systemLimits", json.dumps({INSPECTOR: {"memory": 1000, "cpus": 1.5}})),
        *("--failure-handling-policy", "ROLLBACK"),
    ]
    assert status == [["deployment", "status", "-i", "5f0b-11"]] * 2


def test_a_local_deployment_that_fails_says_why(command: Command, stand_in: Any, tmp_path: Path) -> None:
    status = "5f0b-11: FAILED\nDeployment Error Stack: DEPLOYMENT_FAILURE, NO_AVAILABLE_COMPONENT_VERSION"
    stand_in("greengrass-cli", {"component list": LISTED, "deployment create": CREATED, "deployment status": status})
    file = write(tmp_path, components={INSPECTOR: {"version": "9.9.9"}})
    done = command("deploy", "--local", "--file", file, "--yes")
    assert done.code == 1
    assert "local deployment 5f0b-11: FAILED: Deployment Error Stack: DEPLOYMENT_FAILURE" in done.err
    assert "/greengrass/v2/logs/greengrass.log" in done.err


def test_a_local_deployment_that_hangs_ends_with_its_time(command: Command, stand_in: Any, tmp_path: Path) -> None:
    answers = {"component list": LISTED, "deployment create": CREATED, "deployment status": "5f0b-11: QUEUED"}
    stand_in("greengrass-cli", answers)
    file = write(tmp_path, components={INSPECTOR: {"version": "0.1.0"}})
    done = command("deploy", "--local", "--file", file, "--yes", "--timeout", "0.1")
    assert (done.code, "is QUEUED after 0.1 s" in done.err) == (1, True)


def test_a_command_line_that_fails_is_quoted(command: Command, stand_in: Any, tmp_path: Path) -> None:
    stand_in("greengrass-cli", {"component list": (1, "Usage: no\nUnable to create ipc client")})
    file = write(tmp_path, components={INSPECTOR: {"version": "0.1.0"}})
    done = command("deploy", "--local", "--file", file, "--yes")
    assert done.code == 1
    assert "greengrass-cli component list: failed with exit status 1: Unable to create ipc client" in done.err


def test_a_command_line_that_says_something_else_is_quoted(command: Command, stand_in: Any, tmp_path: Path) -> None:
    stand_in("greengrass-cli", {"component list": LISTED, "deployment create": "Hello"})
    file = write(tmp_path, components={INSPECTOR: {"version": "0.1.0"}})
    done = command("deploy", "--local", "--file", file, "--yes")
    assert (done.code, "printed no deployment id: 'Hello'" in done.err) == (1, True)


def test_nucleus_lite_gets_configuration_inside_the_recipes(command: Command, stand_in: Any, places: Path) -> None:
    calls = stand_in("ggl-cli", {"deploy": "Deployment id: 9a-1."})
    lanes = {"line-1": {"model": "bolts", "camera": {"type": "folder", "path": "/images", "watch": True}}}
    file = write(
        places,
        components={INSPECTOR: {"version": "0.1.0", "merge": {"lanes": lanes}}, SERVER: {"version": "0.1.0"}},
    )
    options = ["--recipes", str(places / "recipes"), "--artifacts", str(places / "artifacts")]
    done = command("deploy", "--local", "--file", file, "--yes", *options)
    assert (done.code, done.err) == (0, "")
    assert "local deployment 9a-1: nucleus lite has it, and does not tell" in done.out
    configured = places / "recipes-configured"
    assert calls() == [
        [
            *("deploy", "--recipe-dir", str(configured), "--artifacts-dir", str(places / "artifacts")),
            *("--add-component", f"{INSPECTOR}=0.1.0", "--add-component", f"{SERVER}=0.1.0"),
        ]
    ]
    plain, merged = (
        read_recipe(places / name / f"{INSPECTOR}-0.1.0.json") for name in ("recipes", "recipes-configured")
    )
    defaults = merged["ComponentConfiguration"]["DefaultConfiguration"]
    assert defaults.pop("lanes") == lanes
    assert merged == plain
    assert read_recipe(configured / f"{SERVER}-0.1.0.json") == read_recipe(places / "recipes" / f"{SERVER}-0.1.0.json")


LITE_CANNOT: Dict[str, Any] = {
    "remove": {"remove": ["com.example.Old"]},
    "reset": {"components": {INSPECTOR: {"version": "0.1.0", "reset": ["/a"]}}},
    "run_with": {"components": {INSPECTOR: {"version": "0.1.0", "run_with": {"posix_user": "a"}}}},
}


@pytest.mark.parametrize("key", list(LITE_CANNOT))
def test_what_nucleus_lite_cannot_do_is_refused(command: Command, stand_in: Any, tmp_path: Path, key: str) -> None:
    calls = stand_in("ggl-cli", {"deploy": "Deployment id: 9a-1."})
    document = {"components": {INSPECTOR: {"version": "0.1.0"}}, **LITE_CANNOT[key]}
    done = command("deploy", "--local", "--file", write(tmp_path, **document), "--yes")
    assert (done.code, f"ggl-cli: cannot do `{key}`" in done.err) == (1, True)
    assert calls() == []


def test_a_configuration_too_long_for_nucleus_lite(command: Command, stand_in: Any, places: Path) -> None:
    stand_in("ggl-cli", {"deploy": "Deployment id: 9a-1."})
    merge = {f"key{number}": "x" * 1000 for number in range(9)}
    file = write(places, components={INSPECTOR: {"version": "0.1.0", "merge": merge}})
    done = command("deploy", "--local", "--file", file, "--yes", "--recipes", str(places / "recipes"))
    assert (done.code, "nucleus lite reads fewer than 8192" in done.err) == (1, True)
    done = command("deploy", "--local", "--file", file, "--yes")
    assert (done.code, "Name their directory by --recipes" in done.err) == (1, True)


def test_a_version_that_nobody_knows(command: Command, stand_in: Any, tmp_path: Path) -> None:
    stand_in("ggl-cli", {"deploy": "Deployment id: 9a-1."})
    done = command("deploy", "--local", "--file", write(tmp_path, components={INSPECTOR: {}}), "--yes")
    assert (done.code, f"components.{INSPECTOR}.version: is missing" in done.err) == (1, True)


def test_neither_command_line_is_here(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = write(tmp_path, components={INSPECTOR: {"version": "0.1.0"}})
    done = command("deploy", "--local", "--file", file, "--root", str(tmp_path))
    assert (done.code, "greengrass-cli: is neither on the PATH nor below" in done.err) == (1, True)


def test_the_classic_command_line_is_found_below_its_root(
    command: Command, stand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = stand_in("greengrass-cli", {"component list": LISTED})
    monkeypatch.setenv("PATH", "/nowhere")
    file = write(tmp_path, components={INSPECTOR: {"version": "0.1.0"}})
    done = command("deploy", "--local", "--file", file, "--root", str(tmp_path), "--dry-run")
    assert (done.code, calls()) == (0, [["component", "list"]])
