"""A package is written whole or not at all."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from edge_agent.errors import PackageError
from edge_agent.model.draft import draft, write_manifest


def test_broken_draft_leaves_nothing_and_keeps_the_old_package(tmp_path: Path) -> None:
    package = tmp_path / "store" / "p"
    package.mkdir(parents=True)
    (package / "manifest.json").write_text("old")

    def interrupted() -> None:
        with draft(package, "mochi", force=True) as content:
            (content / "manifest.json").write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        interrupted()
    assert [path.name for path in package.parent.iterdir()] == ["p"]
    assert (package / "manifest.json").read_text() == "old"


@pytest.mark.parametrize("name", ["p", "p.zip"])
def test_draft_does_not_replace_without_force(tmp_path: Path, name: str) -> None:
    package = tmp_path / "store" / name

    def overtaken() -> None:
        with draft(package, "mochi") as content:
            (content / "manifest.json").write_text("new")
            package.mkdir()

    with pytest.raises(PackageError, match="exists already"):
        overtaken()
    assert not list(package.iterdir())
    assert [path.name for path in package.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["p", "p.zip"])
def test_force_replaces_the_whole(tmp_path: Path, name: str) -> None:
    package = tmp_path / "store" / name
    for version in ("1", "2"):
        with draft(package, "mochi", force=True) as content:
            (content / "mochi" / f"only-in-{version}").write_bytes(b"x")
            write_manifest(content, {"version": version})
    assert [path.name for path in package.parent.iterdir()] == [name]
    if name == "p":
        assert sorted(str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()) == [
            "manifest.json",
            "mochi/only-in-2",
        ]
    else:
        with zipfile.ZipFile(package) as archive:
            assert archive.namelist() == ["manifest.json", "mochi/only-in-2"]
            assert json.loads(archive.read("manifest.json")) == {"version": "2"}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PackageError, match=r"file: cannot be written \(.+\)"), draft(tmp_path / "file" / "p", "mochi"):
        pass
