"""The recipes' own scripts, run as each nucleus runs them: built artifacts, real pip, no network, no privileges."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest
from nuclei import Device

from edge_agent import __version__
from edge_agent.packaging import install

pytestmark = pytest.mark.timeout(900)
LAYOUTS = ["classic", "lite-cloud", "lite-local"]
MACHINE = {"x86_64": "amd64"}.get(platform.machine(), platform.machine())


def _lifecycle(recipe: Dict[str, Any]) -> Dict[str, Any]:
    [manifest] = [m for m in recipe["Manifests"] if m["Platform"]["architecture"] == MACHINE]
    lifecycle: Dict[str, Any] = manifest["Lifecycle"]
    return lifecycle


@pytest.fixture
def root() -> Iterator[Path]:
    """The nucleus' root directory; not below pytest's own, which is closed to the component's user."""
    with tempfile.TemporaryDirectory(prefix="edge-agent-device-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory, "greengrass/v2")
        for path in Path(directory).rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)


def _install(device: Device, recipe: Dict[str, Any]) -> "subprocess.CompletedProcess[str]":
    return device.run(_lifecycle(recipe)["install"]["Script"], recipe)


def _version(device: Device, recipe: Dict[str, Any]) -> str:
    """What the run step's program says of itself."""
    script = _lifecycle(recipe)["run"]["Script"]
    assert script.endswith((" run", " serve"))
    done = device.run(script.rsplit(" ", 1)[0] + " --version", recipe)
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()


def _environments(device: Device, recipe: Dict[str, Any]) -> List[str]:
    return sorted(path.name for path in (device.work(recipe["ComponentName"]) / "env").iterdir())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inspector_installs_on_each_nucleus(built: Path, inspector: Dict[str, Any], root: Path, layout: str) -> None:
    device = Device(root, layout, path=None if Path("/usr/bin/python3").exists() else f"{sys.base_prefix}/bin")
    device.deploy(built, inspector)
    done = _install(device, inspector)
    assert done.returncode == 0, done.stdout
    assert _version(device, inspector) == f"edge-agent, version {__version__}"
    # Nothing is left of the unpacked wheels, and a second install has nothing to do.
    [environment] = _environments(device, inspector)
    assert os.readlink(str(device.work(inspector["ComponentName"]) / "venv")) == f"env/{environment}"
    again = _install(device, inspector)
    assert (again.returncode, again.stdout) == (0, f"com.edgeagent.Inspector {__version__} is installed already\n")


def test_model_server_installs_and_runs_until_sigterm(built: Path, model_server: Dict[str, Any], root: Path) -> None:
    device = Device(
        root, "lite-local", path="/usr/bin:/bin" if Path("/usr/bin/python3").exists() else f"{sys.base_prefix}/bin"
    )
    device.deploy(built, model_server)
    done = _install(device, model_server)
    assert done.returncode == 0, done.stdout
    code = "import cv2, onnxruntime; print('ready')"
    python = device.work(model_server["ComponentName"]) / "venv/bin/python"
    assert device.run(f'{python} -c "{code}"', model_server).stdout.splitlines()[-1] == "ready"
    # The run step, with the environment that its Setenv gives, as the component's user; SIGTERM reaches Python.
    defaults = model_server["ComponentConfiguration"]["DefaultConfiguration"]
    place = device.work(model_server["ComponentName"])
    run = _lifecycle(model_server)["run"]
    with_paths = {**defaults, "models": str(place), "socket": str(place / "agent.sock")}
    changed = {**model_server, "ComponentConfiguration": {"DefaultConfiguration": with_paths}}
    env = {name: device.expand(value, changed) for name, value in run["Setenv"].items()}
    command = device.command(device.expand(run["Script"], changed), env)
    process = subprocess.Popen(command, cwd=str(place), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        _wait_for(lambda: (place / "agent.sock").exists() or process.poll() is not None)
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said.decode()
    assert not (place / "agent.sock").exists()


def test_other_pythons_of_this_machine_install(
    built: Path, model_server: Dict[str, Any], root: Path, pythons: Dict[str, str]
) -> None:
    others = list(pythons)[1:]  # the first one did the tests above
    if not others:
        pytest.skip("one Python only on this machine")
    for version in others:
        # An interpreter below a private home directory can be run by its owner alone.
        unprivileged = not pythons[version].startswith(str(Path.home()))
        device = Device(root / version, "classic", path=f"{pythons[version]}:/usr/bin:/bin", unprivileged=unprivileged)
        device.deploy(built, model_server)
        _only(device, model_server, version)
        done = _install(device, model_server)
        assert done.returncode == 0, done.stdout
        assert f"for Python {version} (" in done.stdout
        assert _version(device, model_server) == f"edge-agent, version {__version__}"


def _only(device: Device, recipe: Dict[str, Any], *versions: str) -> None:
    """Leaves the pins of these Pythons alone in the unpacked bundle."""
    path = _bundle(device, recipe) / "bundle.json"
    path.chmod(0o644)
    manifest = json.loads(path.read_text())
    manifest["pythons"] = {version: manifest["pythons"][version] for version in versions}
    path.write_text(json.dumps(manifest))


def _bundle(device: Device, recipe: Dict[str, Any]) -> Path:
    unarchived = device.root / "packages/artifacts-unarchived" / recipe["ComponentName"] / recipe["ComponentVersion"]
    [bundle] = unarchived.glob(f"*-{platform.machine()}")
    return bundle


@pytest.fixture
def device(built: Path, inspector: Dict[str, Any], root: Path) -> Device:
    """Unpacked, run as the tests' own user: what follows looks into it and changes it.

    The project's wheel is the real one except that it asks for click alone, which is all that `--version` needs: what
    is tried here is the installer, many times over.
    """
    device = Device(root, "lite-cloud", path=f"{sys.base_prefix}/bin:/usr/bin:/bin", unprivileged=False)
    device.deploy(built, inspector)
    _ask_for_click_alone(_bundle(device, inspector))
    return device


def _ask_for_click_alone(bundle: Path) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    wheel = bundle / "wheels" / manifest["project"]["file"]
    with zipfile.ZipFile(str(wheel)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(str(wheel), "w") as archive:
        for name, content in files.items():
            if name.endswith(".dist-info/METADATA"):
                lines = [line for line in content.split(b"\n") if not line.startswith(b"Requires-Dist:")]
                archive.writestr(name, b"\n".join([lines[0], b"Requires-Dist: click", *lines[1:]]))
            else:
                archive.writestr(name, content)
    manifest["project"]["sha256"] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for python, wheels in manifest["pythons"].items():
        click = [entry for entry in wheels if entry["file"].startswith("click-")]
        manifest["pythons"][python] = [manifest["project"], *click]
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def test_new_bundle_replaces_the_old_one_and_keeps_it_once(device: Device, inspector: Dict[str, Any]) -> None:
    link = device.work(inspector["ComponentName"]) / "venv"
    used = []
    for number in range(3):
        # Another bundle of the same version: as after a local build of changed sources.
        path = _bundle(device, inspector) / "bundle.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "build": number}))
        assert _install(device, inspector).returncode == 0
        used.append(Path(os.readlink(str(link))).name)
        assert _version(device, inspector) == f"edge-agent, version {__version__}"
    assert len(set(used)) == 3
    assert _environments(device, inspector) == sorted(used[1:])


def test_killed_install_leaves_nothing_in_use(device: Device, inspector: Dict[str, Any]) -> None:
    work = device.work(inspector["ComponentName"])
    script = device.expand(_lifecycle(inspector)["install"]["Script"], inspector)
    process = subprocess.Popen(device.command(script), cwd=str(work), stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_for(lambda: any(work.glob("env/*/bin/python")))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (work / "venv").exists()
    [half] = work.glob("env/*")
    assert not (half / install.COMPLETE).exists()
    done = _install(device, inspector)
    assert done.returncode == 0, done.stdout
    assert _version(device, inspector) == f"edge-agent, version {__version__}"


def test_terminated_install_cleans_up(device: Device, inspector: Dict[str, Any]) -> None:
    work = device.work(inspector["ComponentName"])
    script = "exec " + device.expand(_lifecycle(inspector)["install"]["Script"], inspector)
    process = subprocess.Popen(device.command(script), cwd=str(work), stdout=subprocess.DEVNULL)
    try:
        _wait_for(lambda: any(work.glob("env/*/bin/python")))
    finally:
        process.terminate()
        code = process.wait(timeout=60)
    assert code == 143
    assert list(work.glob("env/*")) == []


def test_environment_whose_python_is_gone_is_made_anew(device: Device, inspector: Dict[str, Any]) -> None:
    assert _install(device, inspector).returncode == 0
    # As after an upgrade of the operating system.
    python = device.work(inspector["ComponentName"]) / "venv/bin/python"
    python.unlink()
    python.symlink_to("/no/such/python")
    done = _install(device, inspector)
    assert done.returncode == 0, done.stdout
    assert "made anew" in done.stdout
    assert _version(device, inspector) == f"edge-agent, version {__version__}"


def test_damaged_wheel(device: Device, inspector: Dict[str, Any]) -> None:
    for wheel in (_bundle(device, inspector) / "wheels").glob("click-*.whl"):
        content = bytearray(wheel.read_bytes())
        content[len(content) // 2] ^= 0xFF
        wheel.write_bytes(bytes(content))
    done = _install(device, inspector)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("error: the carried wheels cannot be installed: ")
    assert _environments(device, inspector) == []


def test_wheel_that_is_missing(device: Device, inspector: Dict[str, Any]) -> None:
    for wheel in (_bundle(device, inspector) / "wheels").glob("click-*.whl"):
        wheel.unlink()
    done = _install(device, inspector)
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("error: the carried wheels cannot be installed: ")
    assert "click-" in last


def test_python_that_no_wheels_are_carried_for_uses_the_index(device: Device, inspector: Dict[str, Any]) -> None:
    _only(device, inspector)
    # The index is reached as this machine reaches it.
    script = device.expand(_lifecycle(inspector)["install"]["Script"], inspector)
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=str(device.work(inspector["ComponentName"])),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "no wheels are carried for Python" in done.stdout
    assert _version(device, inspector) == f"edge-agent, version {__version__}"


def test_index_that_cannot_be_reached(device: Device, inspector: Dict[str, Any]) -> None:
    _only(device, inspector)
    done = device.run(
        _lifecycle(inspector)["install"]["Script"], inspector, {"PIP_INDEX_URL": "file:///none", "PIP_RETRIES": "0"}
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("error: the package index gave no complete set of wheels: ")


def test_python36_as_the_devices_python3(device: Device, inspector: Dict[str, Any], pythons: Dict[str, str]) -> None:
    old = sorted(Path.home().glob(".pyenv/versions/3.6.*/bin/python3"))
    if not old:
        pytest.skip("no Python 3.6 on this machine")
    rest = ":".join(pythons.values())
    device = Device(device.root, device.layout, path=f"{old[0].parent}:{rest}:/usr/bin:/bin", unprivileged=False)
    done = _install(device, inspector)
    assert done.returncode == 0, done.stdout
    assert _version(device, inspector) == f"edge-agent, version {__version__}"


def test_no_usable_python(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "OLDEST", 98)
    monkeypatch.setattr(install, "NEWEST", 99)
    bundle = next((built / "artifacts/com.edgeagent.Inspector" / __version__).glob(f"*-{platform.machine()}.zip"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    code = install.main(["--bundle", str(tmp_path / "none"), "--zip", str(bundle), "--work", str(tmp_path / "work")])
    assert code == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("error: no usable Python 3.98 to 3.99 on this device; ")
    assert "is CPython 3." in last
    assert "apt-get install python3" in last
    assert not (tmp_path / "work/venv").exists()
    assert not any((tmp_path / "work/env").iterdir())


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 torn"])
def test_nothing_to_install_from(
    tmp_path: Path, content: Optional[bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    if content is not None:
        (tmp_path / "a.zip").write_bytes(content)
    code = install.main(["--bundle", str(tmp_path), "--zip", str(tmp_path / "a.zip"), "--work", str(tmp_path)])
    assert code == 1
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"error: neither {tmp_path}/bundle.json nor {tmp_path}/a.zip can be installed from: ")


def _wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
