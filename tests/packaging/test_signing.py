"""Signed packages: made by a job, served by who trusts the key, and by no means otherwise."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable

import pytest
from support.keys import make_key_pair, openssl
from support.packages import make_package
from support.packaging import artifact_of, make_registry, open_state, run_job

from edge_agent.errors import ConfigError, MissingExtraError, PackageError
from edge_agent.model import PublicKey, open_package
from edge_agent.packaging.jobs.signing import SigningKey


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A directory with the pairs `maker` and `other`."""
    for name in ("maker", "other"):
        make_key_pair(tmp_path, name)
    return tmp_path


@pytest.fixture
def signed(keys: Path) -> Path:
    """A package directory signed by `maker`."""
    make_registry(keys / "registry")
    run_job(keys, {"sign_with": str(keys / "maker.pem")})
    with zipfile.ZipFile(artifact_of(keys)) as archive:
        archive.extractall(keys / "models" / "bolts")
    return keys / "models" / "bolts"


def test_openssl_finds_the_signature_good(signed: Path, keys: Path) -> None:
    (keys / "raw").write_bytes(base64.b64decode((signed / "manifest.sig").read_bytes()))
    verify = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-rawin",
        "-in",
        str(signed / "manifest.json"),
        "-sigfile",
        str(keys / "raw"),
    ]
    openssl(*verify, "-inkey", str(keys / "maker.pub"))
    with pytest.raises(subprocess.CalledProcessError):
        openssl(*verify, "-inkey", str(keys / "other.pub"))


def test_who_made_it_is_trusted_and_nobody_else(signed: Path, keys: Path) -> None:
    with open_package(signed) as package:
        PublicKey(keys / "maker.pub").check(package)
        with pytest.raises(PackageError, match="is not signed with the key that is trusted here"):
            PublicKey(keys / "other.pub").check(package)


def _edit_manifest(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["model_graph"]["stages"][0]["threshold"] = 0.99
    (package / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_edit_manifest, "is not signed with the key that is trusted here"),
        (
            lambda package: (package / "manifest.sig").write_text("bm9uZQ=="),
            "is not signed with the key that is trusted",
        ),
        (
            lambda package: (package / "manifest.sig").write_text("no base64!"),
            "is not signed with the key that is trus",
        ),
        (
            lambda package: (package / "manifest.sig").unlink(),
            "is not signed, and only signed packages are served here",
        ),
    ],
)
def test_what_was_changed_is_not_trusted(change: Callable[[Path], Any], said: str, signed: Path, keys: Path) -> None:
    change(signed)
    with open_package(signed) as package, pytest.raises(PackageError, match=said):
        PublicKey(keys / "maker.pub").check(package)


def test_a_signature_of_a_manifest_that_lists_no_files_is_worth_nothing(keys: Path) -> None:
    package = make_package(keys / "bolts")
    signature = SigningKey(keys / "maker.pem").sign((package / "manifest.json").read_bytes())
    (package / "manifest.sig").write_bytes(signature)
    with open_package(package) as opened, pytest.raises(PackageError, match="lists no files"):
        PublicKey(keys / "maker.pub").check(opened)


def test_an_unsigned_job_leaves_no_signature_of_an_earlier_one(signed: Path, keys: Path) -> None:
    other = keys / "again"
    (other / "registry" / "bolts").mkdir(parents=True)
    signed.rename(other / "registry" / "bolts" / "1")
    run_job(other)
    with zipfile.ZipFile(artifact_of(other)) as archive:
        assert "manifest.sig" not in archive.namelist()


def _other_kind(directory: Path) -> Path:
    openssl("genpkey", "-algorithm", "ed448", "-out", str(directory / "ed448.pem"))
    return directory / "ed448.pem"


def _open_to_others(directory: Path) -> Path:
    (directory / "maker.pem").chmod(0o640)
    return directory / "maker.pem"


def _text(directory: Path) -> Path:
    (directory / "text").write_text("no key")
    (directory / "text").chmod(0o600)
    return directory / "text"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (_other_kind, "is no Ed25519 key"),
        (_open_to_others, "may be read by others. chmod 600 "),
        (_text, "is no PEM of an unencrypted private key"),
        (lambda directory: directory / "maker.pub", "may be read by others|is no PEM of an unencrypted private key"),
        (lambda directory: directory / "none", r"cannot be read \(No such file"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_before_a_job_is_made(
    key: Callable[[Path], Path], said: str, keys: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        open_state(keys, sign_with=str(key(keys)))
    assert not (keys / "state").exists()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (lambda directory: directory / "maker.pem", "is no PEM of a public key"),
        (lambda directory: directory / "none", r"cannot be read \(No such file"),
    ],
)
def test_a_key_that_cannot_be_trusted_is_refused(key: Callable[[Path], Path], said: str, keys: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        PublicKey(key(keys))


def test_aws_s_agent_gets_manifests_as_they_were(keys: Path) -> None:
    with pytest.raises(ConfigError, match="which are not signed"):
        open_state(keys, agent="aws", sign_with=str(keys / "maker.pem"))


def test_without_the_library_the_extra_is_named(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for kind, key in ((SigningKey, "maker.pem"), (PublicKey, "maker.pub")):
        with pytest.raises(MissingExtraError, match=r"edge-agent\[signing\]"):
            kind(keys / key)
