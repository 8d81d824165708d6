"""What the local engine makes: the artifact, the recipe, and what it says where it cannot."""

from __future__ import annotations

import hashlib
import json
import platform
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.anomalib import make_export
from support.neo import make_neo_package
from support.packages import make_package, zip_package
from support.packaging import PROJECT, artifact_of, make_registry, recipe_of, run_job

from edge_agent.errors import EdgeAgentError, PackageError
from edge_agent.model import load_model, open_package
from edge_agent.packaging.portable import check_recipe
from edge_agent.server.artifacts import ComponentArtifacts

_HERE = {"x86_64": "X86_64", "aarch64": "ARM64"}[platform.machine()]
_OTHER = {"X86_64": "ARM64", "ARM64": "X86_64"}[_HERE]
_FOREIGN = {"ARM64": ("aarch64", 183), "X86_64": ("x86_64", 62)}[_OTHER]  # ELF's e_machine


def test_a_job_makes_an_artifact_that_loads_and_a_recipe_for_both_nuclei(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    made = run_job(tmp_path, ComponentDescription="Bolts of line 3")

    assert made[:3] == (
        "com.example.Bolts",
        "1.0.0",
        "arn:aws:greengrass:local:aws:components:com.example.Bolts:versions:1.0.0",
    )
    artifact = artifact_of(tmp_path)
    assert str(artifact) in made.message
    with zipfile.ZipFile(artifact) as archive:
        assert archive.namelist() == ["manifest.json", "mochi/model.onnx"]
    with open_package(artifact) as package:
        assert (package.name, package.version) == ("com.example.Bolts", "1.0.0")
        assert package.model_arn == "arn:aws:lookoutvision:::model/bolts/1"
        load_model(package, threads=1).close()

    recipe = recipe_of(tmp_path)
    check_recipe(recipe, "recipe")
    assert recipe["ComponentDescription"] == "Bolts of line 3"
    assert recipe["ComponentDependencies"] == {
        "com.edgeagent.ModelServer": {"VersionRequirement": ">=0.1.0", "DependencyType": "SOFT"}
    }
    manifest = recipe["Manifests"][0]
    assert manifest["Platform"]["architecture"] == "amd64"
    place = artifact.relative_to(tmp_path / "buckets")
    assert manifest["Artifacts"][0]["Uri"] == f"s3://{place}"


def test_the_unpacked_artifact_is_what_the_model_server_finds_below_a_nucleus(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    run_job(tmp_path)
    place = tmp_path / "greengrass/packages/artifacts-unarchived/com.example.Bolts/1.0.0" / artifact_of(tmp_path).stem
    place.mkdir(parents=True)
    with zipfile.ZipFile(artifact_of(tmp_path)) as archive:
        archive.extractall(place)
    assert ComponentArtifacts(tmp_path / "greengrass").scan() == {"com.example.Bolts": place}


def test_an_artifact_lists_its_files_and_one_that_was_changed_does_not_load(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    run_job(tmp_path)
    with zipfile.ZipFile(artifact_of(tmp_path)) as archive:
        network = archive.read("mochi/model.onnx")
        archive.extractall(tmp_path / "unpacked")
    with open_package(tmp_path / "unpacked") as package:
        assert package.manifest.package.files == {"mochi/model.onnx": hashlib.sha256(network).hexdigest()}
        (tmp_path / "unpacked" / "mochi" / "model.onnx").write_bytes(network + b" ")
        with pytest.raises(PackageError, match=r"has another file mochi/model.onnx than its manifest says"):
            load_model(package, threads=1)


def test_a_package_that_is_not_as_it_was_made_is_not_made_a_component_of(tmp_path: Path) -> None:
    package = make_registry(tmp_path / "registry") / PROJECT / "1" / "model"
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["package"]["files"] = {"mochi/model.onnx": "0" * 64}
    (package / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match=r"has another file mochi/model.onnx than its manifest says"):
        run_job(tmp_path)


def test_the_same_model_gives_the_same_zip(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        make_registry(tmp_path / name / "registry")
        run_job(tmp_path / name)
        digests.add(hashlib.sha256(artifact_of(tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("greengrass", "name", "architecture"),
    [
        ({"TargetDevice": "jetson_xavier", "TargetPlatform": None}, "jetson_xavier", "aarch64"),
        ({"TargetPlatform": {"Os": "LINUX", "Arch": "ARM64"}}, "arm64", "aarch64"),
    ],
)
def test_the_target_names_the_artifact_and_the_architecture(
    greengrass: Any, name: str, architecture: str, tmp_path: Path
) -> None:
    make_registry(tmp_path / "registry")
    run_job(tmp_path, **greengrass)
    assert artifact_of(tmp_path, name).is_file()
    assert recipe_of(tmp_path)["Manifests"][0]["Platform"]["architecture"] == architecture


@pytest.mark.parametrize("form", ["itself", "zip"])
def test_a_version_may_be_a_package_itself_or_hold_a_zip_of_one(form: str, tmp_path: Path) -> None:
    place = tmp_path / "registry" / PROJECT / "1"
    if form == "itself":
        make_package(place)
    else:
        place.mkdir(parents=True)
        zip_package(make_package(tmp_path / "made"), place / "old.zip", top="deep")
    run_job(tmp_path)
    with zipfile.ZipFile(artifact_of(tmp_path)) as archive:
        assert "manifest.json" in archive.namelist()


def test_an_anomalib_export_is_packaged_as_it_is_with_its_golden_images(tmp_path: Path) -> None:
    place = tmp_path / "registry" / PROJECT / "1"
    (place / "golden").mkdir(parents=True)
    make_export(place / "model.onnx")
    Image.fromarray(np.full((96, 128, 3), 128, dtype=np.uint8)).save(place / "golden" / "grey.png")
    run_job(tmp_path)
    with open_package(artifact_of(tmp_path)) as package:
        assert package.manifest.stage.type == "anomalib"
        assert [image.file for image in package.manifest.package.golden.images] == ["golden/grey.png"]


def test_a_model_that_answers_its_golden_images_otherwise_is_not_packaged(tmp_path: Path) -> None:
    package = make_registry(tmp_path / "registry") / PROJECT / "1" / "model"
    (package / "golden").mkdir()
    Image.fromarray(np.full((64, 96, 3), 128, dtype=np.uint8)).save(package / "golden" / "grey.png")
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["package"]["golden"] = {"images": [{"file": "golden/grey.png", "score": 0.9}]}
    (package / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(EdgeAgentError, match=r"golden/grey.png: expected the score 0.9, found"):
        run_job(tmp_path)
    assert not (tmp_path / "buckets").exists()


def test_a_version_with_two_models_is_no_version(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    make_package(tmp_path / "registry" / PROJECT / "1" / "other")
    with pytest.raises(EdgeAgentError, match="holds 2 models: model, other"):
        run_job(tmp_path)


def test_a_compiled_model_for_this_machine_is_run_and_aws_agent_gets_its_manifest_as_it_was(tmp_path: Path) -> None:
    package = make_neo_package(tmp_path / "registry" / PROJECT / "1" / "old")
    made = run_job(tmp_path, {"agent": "aws"}, TargetPlatform={"Os": "LINUX", "Arch": _HERE})
    assert "Not run" not in made.message
    with zipfile.ZipFile(artifact_of(tmp_path, _HERE.lower())) as archive:
        assert archive.read("manifest.json") == (package / "manifest.json").read_bytes()
    assert list(recipe_of(tmp_path)["ComponentDependencies"]) == ["aws.iot.lookoutvision.EdgeAgent"]


def test_a_compiled_model_for_another_machine_is_packaged_with_a_word_that_it_was_notrun_job(tmp_path: Path) -> None:
    package = make_neo_package(tmp_path / "registry" / PROJECT / "1" / "old")
    library = package / "mochi" / "compiled.so"
    machine, code = _FOREIGN
    library.write_bytes(library.read_bytes()[:18] + code.to_bytes(2, "little") + library.read_bytes()[20:])
    made = run_job(tmp_path, TargetPlatform={"Os": "LINUX", "Arch": _OTHER})
    assert f"Not run here: compiled for {machine}, cpu." in made.message


def test_a_compiled_model_for_another_machine_than_the_target_is_refused(tmp_path: Path) -> None:
    make_neo_package(tmp_path / "registry" / PROJECT / "1" / "old")
    with pytest.raises(EdgeAgentError, match=r"is compiled for .*, but the target is"):
        run_job(tmp_path, TargetPlatform={"Os": "LINUX", "Arch": _OTHER})
    assert not (tmp_path / "buckets").exists()


def test_what_cannot_be_packaged_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    with pytest.raises(EdgeAgentError, match="AWS's Edge Agent runs models compiled by SageMaker Neo"):
        run_job(tmp_path, {"agent": "aws"}, ComponentName="a")
    with pytest.raises(EdgeAgentError, match="holds an empty part"):
        run_job(tmp_path, ComponentName="b", S3OutputLocation={"Bucket": "my-bucket", "Prefix": "a/../../../x"})
    with pytest.raises(EdgeAgentError, match=r"ComponentVersion: '01.0.0' is not a text of the form"):
        run_job(tmp_path, ComponentName="c", ComponentVersion="01.0.0")
    (tmp_path / "registry" / PROJECT / "1" / "model" / "mochi" / "model.onnx").write_bytes(b"torn")
    with pytest.raises(EdgeAgentError, match=r"model.onnx"):
        run_job(tmp_path, ComponentName="d")
    assert not (tmp_path / "buckets").exists()


def test_a_link_out_of_the_package_is_refused(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "registry" / PROJECT / "1" / "model" / "notes.txt").symlink_to(secret)
    with pytest.raises(EdgeAgentError, match="a link that leads out of the package"):
        run_job(tmp_path)


def test_a_component_version_that_lies_there_already_is_not_written_over(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    run_job(tmp_path)
    before = json.dumps(recipe_of(tmp_path))
    (tmp_path / "state" / "jobs.sqlite3").unlink()  # as with another state directory
    with pytest.raises(EdgeAgentError, match="exists already"):
        run_job(tmp_path, ComponentDescription="another")
    assert json.dumps(recipe_of(tmp_path)) == before
