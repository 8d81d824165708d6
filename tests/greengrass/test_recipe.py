"""Recipes as both nuclei read them."""

from __future__ import annotations

import json

import pytest
from greengrass_tools import recipe_document

from edge_agent.errors import RecipeError
from edge_agent.greengrass.recipe import read_recipe

YAML = """
RecipeFormatVersion: "2020-01-25"
ComponentName: com.example.Probe
ComponentVersion: 1.2.0
ComponentConfiguration:
  DefaultConfiguration:
    threshold: 0.50
    enabled: true
    nothing: null
    built: 2024-05-01
    count: 3
    list: [1, two]
    nested: {a: 1}
    accessControl:
      aws.greengrass.ipc.mqttproxy:
        p1: {operations: ["aws.greengrass#PublishToIoTCore"], resources: ["a/*"]}
"""


def _write(path, text):
    path.write_text(text)
    return path


def test_yaml_on_the_classic_nucleus_keeps_types(tmp_path):
    recipe = read_recipe(_write(tmp_path / "recipe.yaml", YAML))
    assert (recipe.name, recipe.version) == ("com.example.Probe", "1.2.0")
    values = {key: recipe.configuration[key] for key in ("threshold", "enabled", "nothing", "built", "count", "list")}
    assert values == {
        "threshold": 0.5,
        "enabled": True,
        "nothing": None,
        "built": "2024-05-01",
        "count": 3,
        "list": [1, "two"],
    }
    assert recipe.access_control["aws.greengrass.ipc.mqttproxy"]["p1"]["resources"] == ["a/*"]


def test_yaml_on_nucleus_lite_becomes_strings(tmp_path):
    recipe = read_recipe(_write(tmp_path / "recipe.yaml", YAML), lite=True)
    assert recipe.version == "1.2.0"
    values = {key: value for key, value in recipe.configuration.items() if key != "accessControl"}
    assert values == {
        "threshold": "0.50",
        "enabled": "true",
        "nothing": "null",
        "built": "2024-05-01",
        "count": "3",
        "list": ["1", "two"],
        "nested": {"a": "1"},
    }


@pytest.mark.parametrize("lite", [False, True])
def test_json_keeps_types_on_both(tmp_path, lite):
    document = recipe_document({"threshold": 0.5, "enabled": True, "nothing": None})
    recipe = read_recipe(_write(tmp_path / "recipe.json", json.dumps(document)), lite=lite)
    assert recipe.configuration["threshold"] == 0.5
    assert recipe.configuration["enabled"] is True
    assert recipe.configuration["nothing"] is None


def test_classic_reads_keys_in_any_case_and_lite_does_not(tmp_path):
    file = _write(tmp_path / "recipe.yaml", YAML.replace("ComponentName", "componentname"))
    assert read_recipe(file).name == "com.example.Probe"
    with pytest.raises(RecipeError, match=r"recipe\.yaml: ComponentName: is missing"):
        read_recipe(file, lite=True)


def test_recipe_without_configuration(tmp_path):
    file = _write(tmp_path / "recipe.yaml", "ComponentName: a\nComponentVersion: 1.0.0\nComponentConfiguration:\n")
    for lite in (False, True):
        recipe = read_recipe(file, lite=lite)
        assert recipe.configuration == {}
        assert recipe.access_control == {}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"ComponentVersion": 1}, "ComponentVersion: must be a text"),
        ({"ComponentName": ""}, "ComponentName: must be a text"),
        ({"ComponentConfiguration": []}, "ComponentConfiguration: must be a map, not a list"),
        (
            {"ComponentConfiguration": {"DefaultConfiguration": 3}},
            r"ComponentConfiguration\.DefaultConfiguration: must",
        ),
    ],
)
def test_wrong_types_name_the_key_path(tmp_path, change, path):
    document = {**recipe_document(), **change}
    with pytest.raises(RecipeError, match=path):
        read_recipe(_write(tmp_path / "recipe.json", json.dumps(document)))


@pytest.mark.parametrize(
    ("policies", "path"),
    [
        ([], r"accessControl\.service: must be a map"),
        ({"p1": {"operations": ["*"]}}, r"service\.p1\.resources: must be a list of texts"),
        ({"p1": {"operations": "x", "resources": []}}, r"service\.p1\.operations: must be a list of texts"),
    ],
)
def test_malformed_access_control(tmp_path, policies, path):
    document = recipe_document(access_control={"service": policies})
    with pytest.raises(RecipeError, match=path):
        read_recipe(_write(tmp_path / "recipe.json", json.dumps(document)))


def test_bare_question_mark_fails_on_lite_only(tmp_path):
    policy = {"p1": {"operations": ["*"], "resources": ["ok/${?}", "a?b"]}}
    file = _write(tmp_path / "recipe.json", json.dumps(recipe_document(access_control={"service": policy})))
    assert read_recipe(file).name
    with pytest.raises(RecipeError, match=r"resources\[1\]: holds a bare \?"):
        read_recipe(file, lite=True)


def test_lite_sizes(tmp_path):
    def recipe(configuration):
        return _write(tmp_path / "recipe.json", json.dumps(recipe_document(configuration)))

    assert read_recipe(recipe({"text": "x" * 1022}), lite=True)
    with pytest.raises(RecipeError, match=r"DefaultConfiguration\.text: has 1025 bytes as JSON"):
        read_recipe(recipe({"text": "x" * 1023}), lite=True)
    assert read_recipe(recipe({"list": list(range(188))}), lite=True)
    with pytest.raises(RecipeError, match="has 189 elements"):
        read_recipe(recipe({"list": list(range(189))}), lite=True)
    large = recipe({f"key{index}": "x" * 900 for index in range(9)})
    assert read_recipe(large)
    with pytest.raises(RecipeError, match="nucleus lite reads recipes of at most 8196"):
        read_recipe(large, lite=True)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("recipe.json", "{", "neither YAML nor JSON"),
        ("recipe.yaml", "a: [1", "is not YAML in line"),
        ("recipe.yaml", "a: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("recipe.yaml", "just text", "must be a map, not a text"),
        ("recipe.json", "[" * 100_000, "neither YAML nor JSON"),
    ],
)
def test_files_that_are_no_recipes(tmp_path, name, text, reason):
    with pytest.raises(RecipeError, match=reason):
        read_recipe(_write(tmp_path / name, text))


def test_missing_file(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        read_recipe(tmp_path / "absent.yaml")


def test_file_that_is_no_text(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="is not UTF-8"):
        read_recipe(tmp_path / "recipe.yaml")
