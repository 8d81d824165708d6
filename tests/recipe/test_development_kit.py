"""gdk-config.json and what `gdk component build` and `publish` make of it, step by step as the kit's source has it.

The kit is on no package index; where it is installed, its own schema is used beside the rules restated here.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import jsonschema
import pytest

from edge_agent import __version__
from edge_agent.packaging.build import COMPONENTS
from edge_agent.packaging.portable import read_portable_recipe
from edge_agent.packaging.recipe import artifacts, read_recipe

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = {"com.edgeagent.Inspector": ROOT, "com.edgeagent.ModelServer": ROOT / "gdk/model-server"}


def _schemas() -> List[Path]:
    schemas = [Path(__file__).parent / "data/gdk_config_rules.schema.json"]
    gdk = importlib.util.find_spec("gdk")
    if gdk is not None and gdk.submodule_search_locations:
        own = Path(gdk.submodule_search_locations[0], "static/config_schema.json")
        schemas += [own] if own.exists() else []
    return schemas


def _config(name: str) -> Dict[str, Any]:
    config: Dict[str, Any] = json.loads((PROJECTS[name] / "gdk-config.json").read_text())
    return config


def test_each_component_has_a_project() -> None:
    assert set(PROJECTS) == {component.name for component in COMPONENTS}


@pytest.mark.parametrize("schema", _schemas(), ids=lambda path: path.name)
@pytest.mark.parametrize("name", list(PROJECTS))
def test_the_configuration_is_of_the_kits_form(name: str, schema: Path) -> None:
    rules = json.loads(schema.read_text())
    jsonschema.validate(_config(name), rules)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**_config(name), "component": {}}, rules)


@pytest.mark.parametrize("name", list(PROJECTS))
def test_name_version_and_recipe_are_the_components(name: str) -> None:
    [(component, settings)] = _config(name)["component"].items()
    assert (component, settings["version"]) == (name, __version__)
    # The kit wants recipe.yaml, or recipe.json and not both, beside its configuration.
    [found] = [path for kind in ("json", "yaml") for path in PROJECTS[name].glob(f"recipe.{kind}")]
    recipe = read_portable_recipe(found)
    assert (recipe["ComponentName"], recipe["ComponentVersion"]) == (name, __version__)


@pytest.fixture
def project() -> Iterator[Path]:
    """The inspector's project. Its build is slow; the model server's differs by the words of its command alone."""
    out = ROOT / "greengrass-build"
    shutil.rmtree(out, ignore_errors=True)
    yield ROOT
    shutil.rmtree(out, ignore_errors=True)


@pytest.mark.timeout(300)
def test_build_and_publish_find_what_the_command_made(project: Path) -> None:
    name = "com.edgeagent.Inspector"
    settings = _config(name)["component"][name]
    place = project / "greengrass-build/artifacts" / name / settings["version"]
    # `gdk component build`: its directories, then the command in the project's directory.
    (project / "greengrass-build/recipes").mkdir(parents=True)
    place.mkdir(parents=True)
    subprocess.run(settings["build"]["custom_build_command"], cwd=str(project), check=True, stdout=subprocess.DEVNULL)
    # `gdk component publish`: the recipe by the name that recipe.yaml leads to, and each artifact by its file's name.
    built = project / "greengrass-build/recipes" / (project / "recipe.yaml").resolve().name
    recipe = read_recipe(built)
    assert recipe["ComponentName"] == name
    for artifact in artifacts(recipe):
        file = artifact["Uri"].rsplit("/", 1)[1]
        assert len(list(place.glob(file))) == 1
        artifact["Uri"] = f"s3://{settings['publish']['bucket']}/{name}/{settings['version']}/{file}"
    published = built.with_name(f"{name}-{settings['version']}.yaml")
    published.write_text(json.dumps(recipe))
    read_portable_recipe(published)
    assert len(list(place.iterdir())) == 3


@pytest.mark.parametrize("name", list(PROJECTS))
def test_the_command_is_one_that_the_script_takes(name: str) -> None:
    [settings] = _config(name)["component"].values()
    program, *arguments = settings["build"]["custom_build_command"]
    assert (PROJECTS[name] / program).resolve() == ROOT / "scripts/build_components"
    [component] = [component for component in COMPONENTS if component.name == name]
    relative = (PROJECTS[name] / "greengrass-build").relative_to(ROOT)
    # The script goes to the top of the checkout first.
    assert arguments == ["--gdk", "--component", component.file, "--out", str(relative)]


def test_the_kits_form_is_for_one_component() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent.packaging", "--gdk"],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        check=False,
    )
    assert (done.returncode, "--gdk goes with one --component" in done.stderr) == (2, True)
