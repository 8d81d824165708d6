"""The recipes against the rules of both nuclei and of the Greengrass Development Kit."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any, Callable, Dict, List

import jsonschema
import pytest
import yaml

from edge_agent import __version__
from edge_agent.agent import InspectorSettings, read_settings
from edge_agent.cli.serve import serve
from edge_agent.deployment.settings import parse_deployment, read_deployment
from edge_agent.errors import RecipeError
from edge_agent.outputs.pubsub import PubsubOutputSettings
from edge_agent.packaging.build import COMPONENTS, load
from edge_agent.packaging.portable import MAX_RECIPE_BYTES, check_recipe
from edge_agent.packaging.recipe import read_recipe, to_json, with_bucket

ROOT = Path(__file__).resolve().parents[2]
RECIPES = [ROOT / f"recipe/{component.file}.yaml" for component in COMPONENTS]
INSPECTOR = ROOT / "recipe/inspector.yaml"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_portable(path: Path) -> None:
    recipe = read_recipe(path)
    check_recipe(recipe, str(path), path.stat().st_size)
    assert len(to_json(recipe).encode()) < MAX_RECIPE_BYTES
    assert recipe["ComponentVersion"] == __version__
    platforms = [manifest["Platform"] for manifest in recipe["Manifests"]]
    assert platforms == [{"os": "linux", "architecture": name, "runtime": "*"} for name in ("amd64", "aarch64")]


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.file)
def test_recipes_name_what_is_built(component: Any) -> None:
    assert load(ROOT, component)["ComponentName"] == component.name


def _gdk_schemas() -> List[Path]:
    """The rules restated; and the GDK's own file where it is installed or named by EDGE_AGENT_GDK_SCHEMA."""
    schemas = [Path(__file__).parent / "data/gdk_rules.schema.json"]
    named, gdk = os.environ.get("EDGE_AGENT_GDK_SCHEMA"), importlib.util.find_spec("gdk")
    if named:
        schemas.append(Path(named))
    if gdk is not None and gdk.submodule_search_locations:
        own = Path(gdk.submodule_search_locations[0], "static/recipe_schema.json")
        schemas += [own] if own.exists() else []
    return schemas


@pytest.mark.parametrize("schema", _gdk_schemas(), ids=lambda path: path.name)
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_pass_the_development_kit(path: Path, schema: Path) -> None:
    jsonschema.validate(_lower(read_recipe(path)), json.loads(schema.read_text()))


@pytest.mark.parametrize("schema", _gdk_schemas(), ids=lambda path: path.name)
def test_the_development_kit_finds_faults(schema: Path) -> None:
    recipe = _lower(read_recipe(INSPECTOR))
    del recipe["componentversion"]
    with pytest.raises(jsonschema.ValidationError, match="componentversion"):
        jsonschema.validate(recipe, json.loads(schema.read_text()))


def _lower(value: Any) -> Any:
    """Keys in lower case, as the GDK does before it validates."""
    if isinstance(value, dict):
        return {key.lower(): _lower(entry) for key, entry in value.items()}
    return [_lower(entry) for entry in value] if isinstance(value, list) else value


def test_yaml_and_json_are_equal(built: Path) -> None:
    for path in RECIPES:
        recipe = read_recipe(path)
        written = built / "recipes" / f"{recipe['ComponentName']}-{__version__}.json"
        assert json.loads(written.read_text()) == recipe
        assert read_recipe(written) == recipe


def test_bucket_replaces_the_placeholder_alone() -> None:
    recipe = read_recipe(INSPECTOR)
    placed = with_bucket(recipe, "parts", "edge/agent/")
    uris = [artifact["Uri"] for manifest in placed["Manifests"] for artifact in manifest["Artifacts"]]
    assert uris[0] == f"s3://parts/edge/agent/com.edgeagent.Inspector/{__version__}/install.py"
    assert "BUCKET" not in json.dumps(placed)
    assert json.dumps(placed).replace("s3://parts/edge/agent/", "s3://BUCKET/") == json.dumps(recipe)


def test_inspector_may_use_its_own_topics_and_no_more() -> None:
    defaults = read_recipe(INSPECTOR)["ComponentConfiguration"]["DefaultConfiguration"]
    settings = InspectorSettings(lanes={})
    said = {settings.publish.topic, settings.health.topic, settings.commands.replies, settings.confirm.topic}
    heard = {settings.commands.topic, "edge-agent/{thing}/triggers/*"}
    wanted = {
        "PublishToIoTCore": said,
        "SubscribeToIoTCore": {*heard, settings.confirm.topic},
        "PublishToTopic": {settings.commands.replies, "edge-agent/{thing}/outputs/*", settings.cloudwatch.topic},
        "SubscribeToTopic": heard,
    }
    assert PubsubOutputSettings().topic.startswith("edge-agent/{thing}/outputs/")
    services = defaults["accessControl"]
    assert set(services) == {"aws.greengrass.ipc.mqttproxy", "aws.greengrass.ipc.pubsub"}
    allowed = {}
    for service in services.values():
        for policy in service.values():
            (operation,) = policy["operations"]
            assert operation not in allowed
            allowed[operation] = set(policy["resources"])
    assert allowed == {
        f"aws.greengrass#{operation}": {topic.replace("{thing}", "{iot:thingName}") for topic in topics}
        for operation, topics in wanted.items()
    }


def _run(recipe: Dict[str, Any]) -> Dict[str, Any]:
    step: Dict[str, Any] = recipe["Manifests"][0]["Lifecycle"]["run"]
    return step


def _defaults(recipe: Dict[str, Any]) -> Dict[str, Any]:
    defaults: Dict[str, Any] = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    return defaults


def _policy(recipe: Dict[str, Any]) -> Dict[str, Any]:
    access = _defaults(recipe)["accessControl"]["aws.greengrass.ipc.mqttproxy"]
    found: Dict[str, Any] = access["com.edgeagent.Inspector:mqttproxy:1"]
    return found


def _manifest(recipe: Dict[str, Any]) -> Dict[str, Any]:
    manifest: Dict[str, Any] = recipe["Manifests"][0]
    return manifest


# What one nucleus refuses or takes otherwise, and the place that the message must name.
FAULTS: List[Any] = [
    ("extra key", lambda r: r.update(Extra=1), "Extra"),
    ("key in another case", lambda r: r.update(componentname=r.pop("ComponentName")), "ComponentName"),
    ("version", lambda r: r.update(ComponentVersion="1.0"), "ComponentVersion"),
    ("global lifecycle", lambda r: r.update(Lifecycle={"run": "true"}), "Lifecycle"),
    ("no manifest", lambda r: r.update(Manifests=[]), "Manifests"),
    ("no platform", lambda r: _manifest(r).pop("Platform"), "Manifests[0].Platform"),
    ("no runtime", lambda r: _manifest(r)["Platform"].pop("runtime"), "Manifests[0].Platform.runtime"),
    ("lite only", lambda r: _manifest(r)["Platform"].update(runtime="aws_nucleus_lite"), "Platform.runtime"),
    ("regex", lambda r: _manifest(r)["Platform"].update(architecture="/amd64|arm/"), "Platform.architecture"),
    ("no artifacts", lambda r: _manifest(r).pop("Artifacts"), "Manifests[0].Artifacts"),
    ("URI", lambda r: _manifest(r)["Artifacts"][0].update(URI=1), "Artifacts[0].URI"),
    ("docker", lambda r: _manifest(r)["Artifacts"][0].update(Uri="docker:x"), "Artifacts[0].Uri"),
    ("dots", lambda r: _manifest(r)["Artifacts"][1].update(Uri="s3://B/a-1.0.zip"), "Artifacts[1].Uri"),
    ("tar", lambda r: _manifest(r)["Artifacts"][1].update(Unarchive="TAR"), "Artifacts[1].Unarchive"),
    ("startup", lambda r: _manifest(r)["Lifecycle"].update(startup="true"), "Lifecycle.startup"),
    ("shutdown", lambda r: _manifest(r)["Lifecycle"].update(shutdown="true"), "Lifecycle.shutdown"),
    ("Skipif", lambda r: _run(r).update(Skipif="onpath x"), "run.Skipif"),
    ("privilege", lambda r: _run(r).update(RequiresPrivilege=True), "run.RequiresPrivilege"),
    ("Timeout of run", lambda r: _run(r).update(Timeout=60), "run.Timeout"),
    ("two lines", lambda r: _run(r).update(Script="a\nb"), "run.Script"),
    ("shell braces", lambda r: _run(r).update(Script="echo ${HOME}"), "run.Script"),
    ("configuration in a script", lambda r: _run(r).update(Script="echo {configuration:/socket}"), "run.Script"),
    ("unknown file", lambda r: _run(r).update(Script="sh {artifacts:path}/other.sh"), "run.Script"),
    ("number in Setenv", lambda r: _run(r).update(Setenv={"A": 1}), "run.Setenv.A"),
    ("name in Setenv", lambda r: _run(r).update(Setenv={"A-B": "1"}), "run.Setenv"),
    ("nothing there", lambda r: _run(r).update(Setenv={"A": "{configuration:/none}"}), "run.Setenv.A"),
    ("a map in Setenv", lambda r: _run(r).update(Setenv={"A": "{configuration:/publish}"}), "run.Setenv.A"),
    ("other component", lambda r: _run(r).update(Setenv={"A": "{x.y:configuration:/z}"}), "run.Setenv.A"),
    ("null", lambda r: _defaults(r).update(socket=None), "DefaultConfiguration.socket"),
    ("long leaf", lambda r: _defaults(r).update(socket="x" * 1100), "DefaultConfiguration.socket"),
    ("long list", lambda r: _defaults(r).update(many=list(range(1000, 1300))), "DefaultConfiguration.many"),
    ("many keys", lambda r: _defaults(r).update(many={str(n): 1 for n in range(100)}), "DefaultConfiguration.many"),
    ("all operations", lambda r: _policy(r).update(operations=["*"]), "mqttproxy:1.operations"),
    ("all resources", lambda r: _policy(r).update(resources=["*"]), "mqttproxy:1.resources"),
    ("question mark", lambda r: _policy(r).update(resources=["a/?"]), "mqttproxy:1.resources"),
    ("variable", lambda r: _policy(r).update(resources=["{configuration:/a}/b"]), "mqttproxy:1.resources"),
    ("key of a policy", lambda r: _policy(r).update(operation=[]), "mqttproxy:1.operation"),
    ("dependency", lambda r: r.update(ComponentDependencies={"a": {}}), "ComponentDependencies.a.VersionRequirement"),
]


@pytest.mark.parametrize(("change", "place"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_what_is_not_portable_is_refused_by_place(change: Callable[[Dict[str, Any]], object], place: str) -> None:
    recipe = copy.deepcopy(read_recipe(INSPECTOR))
    change(recipe)
    with pytest.raises(RecipeError) as caught:
        check_recipe(recipe, "inspector.yaml")
    assert caught.value.subject.startswith("inspector.yaml, ")
    assert place in caught.value.subject


def test_recipe_too_long_for_nucleus_lite() -> None:
    with pytest.raises(RecipeError, match="8192"):
        check_recipe(read_recipe(INSPECTOR), "inspector.yaml", 8192)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a: [", "not YAML"), ("- a", "not a map"), ("a: 1\na: 2", "key given twice: a")],
)
def test_what_is_no_recipe(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=reason):
        read_recipe(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")


def test_version_that_is_not_the_packages(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    text = INSPECTOR.read_text().replace(f"ComponentVersion: {__version__}", "ComponentVersion: 99.0.0")
    (tmp_path / "recipe/inspector.yaml").write_text(text)
    with pytest.raises(RecipeError, match=f"is 99.0.0. The package says {__version__}"):
        load(tmp_path, COMPONENTS[0])


def test_sample_deployment_fits_recipes_and_settings() -> None:
    deployment = read_deployment(ROOT / "recipe/deployment.yaml")
    for path in RECIPES:
        recipe = read_recipe(path)
        entry = deployment.components[recipe["ComponentName"]]
        assert entry.version == __version__
        configuration = {**_defaults(recipe), **(entry.merge or {})}
        if path == INSPECTOR:
            settings = read_settings(configuration, "deployment", thing="press-4")
            assert settings.publish.topic == "edge-agent/press-4/inspections"
            assert list(settings.lanes) == ["line-1"]
        else:
            assert set(configuration) == set(_defaults(recipe))


def test_defaults_of_the_model_server_are_those_of_serve() -> None:
    defaults = _defaults(read_recipe(ROOT / "recipe/model-server.yaml"))
    options = {option.name: option for option in serve.params}
    assert options["socket_path"].default == defaults["socket"]
    names = {option.envvar for option in serve.params if isinstance(option.envvar, str)}
    manifest = _manifest(read_recipe(ROOT / "recipe/model-server.yaml"))
    assert set(manifest["Lifecycle"]["run"]["Setenv"]) <= names


def test_deploy_page_is_true() -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    for path in RECIPES:
        recipe = read_recipe(path)
        assert f"build/greengrass/recipes/{recipe['ComponentName']}-{__version__}.json" in page
        for key, value in _defaults(recipe).items():
            if isinstance(value, str):
                assert f"| `{key}` | `{value or chr(34) * 2}` |" in page
    # What the page shows is the sample deployment, and more.
    [block] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    shown = parse_deployment(yaml.safe_load(block), "docs/deploy.md")
    sample = read_deployment(ROOT / "recipe/deployment.yaml")
    for name, component in sample.components.items():
        assert (shown.components[name].version, shown.components[name].merge) == (component.version, component.merge)
