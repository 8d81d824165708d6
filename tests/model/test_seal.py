"""A manifest that lists its files holds them to what they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import pytest
from support.packages import make_package, zip_package

from edge_agent.errors import PackageError
from edge_agent.model import load_model, open_package
from edge_agent.model.seal import check_files, digests_of


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    package = make_package(tmp_path / "bolts", size=(32, 48))
    (package / "golden").mkdir()
    (package / "golden" / "note.txt").write_text("a file that nothing reads")
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["package"]["files"] = digests_of(package, "bolts")
    (package / "manifest.json").write_text(json.dumps(manifest))
    return package


def test_every_file_but_the_manifest_is_listed_by_its_place(sealed: Path) -> None:
    listed = json.loads((sealed / "manifest.json").read_text())["package"]["files"]
    assert sorted(listed) == ["golden/note.txt", "mochi/model.onnx"]
    # as sha256sum says
    assert listed["golden/note.txt"] == "3294e9301afa9103b3a88f69bfc8ff335bbdd525d886e081851ac70ab7a662d6"


@pytest.mark.parametrize("form", ["directory", "zip"])
def test_a_package_as_it_was_made_loads(form: str, sealed: Path, tmp_path: Path) -> None:
    place = sealed if form == "directory" else zip_package(sealed, tmp_path / "bolts.zip")
    with open_package(place) as package:
        load_model(package, threads=1).close()


def _flip(package: Path) -> None:
    file = package / "mochi" / "model.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_flip, "has another file mochi/model.onnx than its manifest says"),
        (lambda package: (package / "golden/note.txt").unlink(), "has no file golden/note.txt, which its manifest"),
        (
            lambda package: (package / "mochi/.other.onnx").touch(),
            "holds mochi/.other.onnx, which its manifest does not",
        ),
        (lambda package: (package / "mochi/link").symlink_to("/etc/hostname"), "a link that leads out of the package"),
    ],
)
def test_one_that_was_changed_does_not(change: Callable[[Path], object], said: str, sealed: Path) -> None:
    change(sealed)
    with open_package(sealed) as package, pytest.raises(PackageError, match=said):
        load_model(package, threads=1)


def test_a_manifest_without_a_list_promises_nothing(tmp_path: Path) -> None:
    package = make_package(tmp_path / "bolts", size=(32, 48))
    (package / "more").touch()
    with open_package(package) as opened:
        check_files(opened)
