"""Packages as files: directories and zips, and what is refused before a byte of it is written."""

from __future__ import annotations

import json
import os
import stat
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any, List

import pytest
from support.packages import make_package, zip_package

from edge_agent.errors import ManifestError, PackageError
from edge_agent.model import archive, open_package, read_manifest


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unpacking goes here, so that a test sees what is left."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def make_zip(path: Path, members: List[Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


@pytest.mark.parametrize("top", ["", "bolts_component"])
def test_zip_is_unpacked_privately_and_removed(tmp_path: Path, temporary: Path, top: str) -> None:
    source = make_package(tmp_path / "bolts", name="bolts-model", version="2.0.0")
    path = zip_package(source, tmp_path / "b.zip", top=top)
    with open_package(path) as package:
        assert (package.name, package.version, package.model_arn) == ("bolts-model", "2.0.0", None)
        assert package.artifact().read_bytes() == (source / "mochi" / "model.onnx").read_bytes()
        (unpacked,) = temporary.iterdir()
        assert stat.S_IMODE(unpacked.stat().st_mode) == 0o700
        assert stat.S_IMODE(package.artifact().stat().st_mode) == 0o600
    assert not list(temporary.iterdir())
    package.close()  # twice is harmless


def test_directory_is_used_where_it_lies(tmp_path: Path, temporary: Path) -> None:
    path = make_package(tmp_path / "bolts", version=None)
    with open_package(str(path)) as package:
        assert (package.name, package.version) == ("bolts", None)
        assert package.directory == path
        assert package.artifact() == path / "mochi" / "model.onnx"
    assert path.is_dir()
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("top", ["", "inner"])
def test_read_manifest_unpacks_nothing(tmp_path: Path, temporary: Path, top: str) -> None:
    source = make_package(tmp_path / "bolts", version="7.0.0")
    assert read_manifest(source).package.version == "7.0.0"
    assert read_manifest(zip_package(source, tmp_path / "b.zip", top=top)).package.version == "7.0.0"
    assert not list(temporary.iterdir())


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


REFUSED = [
    ([("../evil", b"x")], r"member '\.\./evil' climbs out of the package"),
    ([("mochi/../../evil", b"x")], r"member 'mochi/\.\./\.\./evil' climbs out"),
    ([("/etc/evil", b"x")], r"member '/etc/evil' has an absolute or foreign path"),
    ([("mochi\\evil", b"x")], r"has an absolute or foreign path"),
    ([(link("mochi"), b"/etc")], r"member 'mochi' is neither a file nor a directory"),
    ([("a", b"1"), ("./a", b"2")], r"member './a' is there twice"),
    ([("a", b"1"), ("a/b", b"2")], r"holds 'a' both as a file and as a directory"),
    ([(f"f{i}", b"") for i in range(archive.MAX_MEMBERS + 1)], r"holds 1001 members; at most 1000"),
    ([("zeros", bytes(64 * 1024 * 1024))], r"member 'zeros' unpacks to more than 200 times its size \(a zip bomb\)"),
    ([("other.txt", b"x")], r"holds no manifest\.json at its top or in one single top directory"),
    ([("a/manifest.json", b"{}"), ("b/manifest.json", b"{}")], r"holds no manifest\.json at its top"),
]


@pytest.mark.parametrize(("members", "message"), REFUSED)
def test_what_no_package_holds_is_refused(tmp_path: Path, temporary: Path, members: List[Any], message: str) -> None:
    path = make_zip(tmp_path / "bad.zip", members)
    with pytest.raises(PackageError, match=message):
        open_package(path)
    with pytest.raises(PackageError, match=message):
        read_manifest(path)
    assert not list(temporary.iterdir())
    assert not (tmp_path / "evil").exists()


def test_a_duplicate_that_zipfile_itself_allows_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = make_zip(tmp_path / "bad.zip", [("manifest.json", b"{}"), ("manifest.json", b"{}")])
    with pytest.raises(PackageError, match="is there twice"):
        open_package(path)


def test_total_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 1000)
    path = make_zip(tmp_path / "bad.zip", [(f"f{i}", os.urandom(300)) for i in range(4)])
    with pytest.raises(PackageError, match="unpacks to 1200 bytes; at most 1000"):
        open_package(path)


def test_a_bomb_is_stopped_while_it_streams_whatever_its_headers_say(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_refusal", lambda _member, _parts: "")
    path = make_zip(tmp_path / "bomb.zip", [("zeros", bytes(64 * 1024 * 1024))])
    with pytest.raises(PackageError, match=r"unpacks to more than \d+ bytes \(a zip bomb\)"):
        open_package(path)
    assert not list(temporary.iterdir())


def test_a_header_that_claims_a_better_ratio_is_torn(tmp_path: Path, temporary: Path) -> None:
    path = make_zip(tmp_path / "bomb.zip", [("zeros", bytes(64 * 1024 * 1024))])
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 20 : central + 24] = struct.pack("<I", 1024 * 1024)
    path.write_bytes(data)
    # Newer Pythons, and older ones that distributions patched, notice it before they read.
    with pytest.raises(PackageError, match=r"cannot be unpacked \((EOFError|Overlapped entries.*)\)"):
        open_package(path)
    assert not list(temporary.iterdir())


def test_a_header_that_claims_too_little_is_torn(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "torn.zip", [("manifest.json", b"x" * 1000)])
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", 10)
    path.write_bytes(data)
    with pytest.raises(PackageError, match="cannot be unpacked"):
        open_package(path)


def test_torn_zip_and_other_files(tmp_path: Path) -> None:
    whole = zip_package(make_package(tmp_path / "bolts"), tmp_path / "b.zip").read_bytes()
    for name, data in {"empty.zip": b"", "half.zip": whole[: len(whole) // 2], "text.zip": b"hello"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PackageError, match="cannot be unpacked"):
            open_package(tmp_path / name)
        with pytest.raises(PackageError, match="cannot be read"):
            read_manifest(tmp_path / name)
    flipped = bytearray(whole)
    flipped[whole.index(b"PK\x03\x04", 4) - 40] ^= 0xFF  # inside the first member's data
    (tmp_path / "flipped.zip").write_bytes(flipped)
    with pytest.raises(PackageError, match="cannot be unpacked"):
        open_package(tmp_path / "flipped.zip")


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="is neither a directory nor a zip file"):
        open_package(tmp_path / "nowhere")


def test_directory_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"holds no manifest\.json"):
        open_package(tmp_path)


@pytest.mark.parametrize("climb", ["../../outside.onnx", "/etc/passwd", "../mochi/../../outside.onnx"])
def test_a_path_that_climbs_out_is_refused(tmp_path: Path, climb: str) -> None:
    (tmp_path / "outside.onnx").write_bytes(b"x")
    path = make_package(tmp_path / "bolts", top={"runtime_artifact": climb})
    with open_package(path) as package, pytest.raises(PackageError, match="which lies outside the package"):
        package.artifact()


@pytest.mark.parametrize("what", ["mochi/model.onnx", "mochi", "manifest.json"])
def test_a_link_that_leads_out_is_refused(tmp_path: Path, what: str) -> None:
    path = make_package(tmp_path / "bolts")
    moved = tmp_path / "moved"
    (path / what).rename(moved)
    (path / what).symlink_to(moved)
    with pytest.raises(PackageError, match="which lies outside the package"), open_package(path) as package:
        package.artifact()


def test_a_link_to_the_package_itself_is_fine(tmp_path: Path) -> None:
    make_package(tmp_path / "bolts-1.0.0")
    (tmp_path / "bolts").symlink_to("bolts-1.0.0")
    with open_package(tmp_path / "bolts") as package:
        assert package.name == "bolts"
        assert package.artifact().is_file()


def test_other_runtimes_are_named(tmp_path: Path) -> None:
    path = make_package(tmp_path / "bolts", top={"runtime": "pytorch"})
    with open_package(path) as package, pytest.raises(ManifestError, match="runtime: is 'pytorch', which is not supp"):
        package.artifact()


def test_the_artifact_is_named_or_the_only_one(tmp_path: Path) -> None:
    path = make_package(tmp_path / "bolts")
    (path / "mochi" / "second.onnx").write_bytes(b"x")
    with open_package(path) as package, pytest.raises(PackageError, match=r"has 2 \*\.onnx files in 'mochi', not one"):
        package.artifact()
    manifest = json.loads((path / "manifest.json").read_text())
    for name, found in (("model.onnx", True), ("third.onnx", False)):
        (path / "manifest.json").write_text(json.dumps({**manifest, "runtime_artifact": name}))
        with open_package(path) as package:
            if found:
                assert package.artifact().name == name
            else:
                with pytest.raises(PackageError, match=r"has no file mochi/third\.onnx"):
                    package.artifact()


def test_missing_stage_directory(tmp_path: Path) -> None:
    path = make_package(tmp_path / "bolts")
    (path / "mochi").rename(path / "other")
    with open_package(path) as package, pytest.raises(PackageError, match="has no directory 'mochi'"):
        package.artifact()


def test_manifest_size_is_bounded(tmp_path: Path) -> None:
    path = make_package(tmp_path / "bolts")
    with (path / "manifest.json").open("ab") as file:
        file.write(b" " * (4 * 1024 * 1024))
    with pytest.raises(PackageError, match="of more than 4194304 bytes"):
        open_package(path)
