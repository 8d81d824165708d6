"""Each check of the doctor, where things are well and where they are not, on real files, sockets and servers."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import threading
from pathlib import Path
from typing import Any, Iterable, Iterator, List

import pytest
from PIL import Image
from support.clocks import Steps
from support.neo import compile_library, make_neo_package
from support.packages import make_package

from edge_agent.cameras import FolderSettings
from edge_agent.clock import SystemClock
from edge_agent.detector import EdgeAgentClient, ensure_running
from edge_agent.doctor.account import READ, WRITE, Account, account, group_name
from edge_agent.doctor.agents import AWS_COMPONENT, check_agent, check_aws_agent, check_socket
from edge_agent.doctor.camera import check_attached, check_lanes
from edge_agent.doctor.clocks import check_clock, kernel_state
from edge_agent.doctor.disk import Place, check_disk
from edge_agent.doctor.finding import BROKEN, OK, SKIPPED, WARNING, Finding, examine
from edge_agent.doctor.gpu import Libraries, check_gpu, gpu_code, read_compiler_options
from edge_agent.doctor.nucleus import check_ipc
from edge_agent.doctor.rights import check_groups
from edge_agent.doctor.software import check_python
from edge_agent.doctor.store import check_models
from edge_agent.errors import ConfigError, IpcError, ModelFailedError
from edge_agent.greengrass.nucleus import LocalNucleus
from edge_agent.server import ModelServer


def one(findings: Iterable[Finding], status: str) -> Finding:
    [finding] = findings
    assert finding.status == status, finding
    assert bool(finding.remedy) or status in (OK, SKIPPED)
    return finding


# -- python


def test_python() -> None:
    one(check_python(), OK)
    assert "3.14" in one(check_python((3, 14)), BROKEN).text
    one(check_python((3, 7)), BROKEN)


def test_python_without_a_requirement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "probe-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: probe\nVersion: 1.0\nRequires-Dist: click>=8\nRequires-Dist: not-anywhere>=1\n"
        'Requires-Dist: only-an-extra; extra == "more"\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    finding = one(check_python((3, 11), "probe"), BROKEN)
    assert finding.text.endswith("has no not-anywhere")


# -- groups


def test_device_files(place: Path, me: Account, stranger: Account) -> None:
    one(check_groups(stranger, place), OK)
    (place / "video0").touch()
    (place / "gpiochip0").touch()
    (place / "video0").chmod(0o660)
    (place / "gpiochip0").chmod(0o660)
    assert "video0" in one(check_groups(me, place), OK).text
    camera, chip = check_groups(stranger, place)
    assert (camera.status, chip.status) == (BROKEN, WARNING)
    group = grp.getgrgid((place / "video0").stat().st_gid).gr_name
    assert camera.remedy == f"sudo usermod -aG {group} stranger, then restart the nucleus."
    member = stranger._replace(gids=frozenset({(place / "video0").stat().st_gid}))
    one(check_groups(member, place), OK)


def test_accounts(place: Path, stranger: Account) -> None:
    assert account("root").uid == 0
    assert account(None).name in {pwd.getpwuid(os.geteuid()).pw_name, "ggc_user", "gg_component"}
    with pytest.raises(ConfigError, match="user nobody-at-all"):
        account("nobody-at-all")
    assert group_name(987654) == "987654"
    closed = place / "closed"
    closed.mkdir()
    (closed / "file").touch()
    (closed / "file").chmod(0o666)
    assert stranger.may(closed / "file", READ | WRITE)
    closed.chmod(0o700)
    assert not stranger.may(closed / "file", READ)
    assert account("root").may(closed / "file", READ | WRITE)


# -- socket and agent


def test_sockets(place: Path, me: Account, stranger: Account) -> None:
    path = place / "agent.sock"
    assert "no Edge Agent serves" in one(check_socket(path, me), BROKEN).text
    path.touch()
    assert "is no socket" in one(check_socket(path, me), BROKEN).text
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o660)
        assert "nobody listens" in one(check_socket(path, me), BROKEN).text
        listener.listen()
        one(check_socket(path, me), OK)
        assert "mode 0660" in one(check_socket(path, stranger), BROKEN).text


def test_the_agents_models(tmp_path: Path, socket_path: str) -> None:
    one(check_agent(Path(socket_path)), SKIPPED)
    store = tmp_path / "models"
    store.mkdir()
    server = ModelServer(store, socket_path)
    server.start()
    try:
        assert one(check_agent(Path(socket_path)), WARNING).text == "the agent has no models"
        make_package(store / "bolts")
        assert one(check_agent(Path(socket_path)), OK).text == "bolts STOPPED"
        make_package(store / "torn")
        (store / "torn/mochi/model.onnx").write_bytes(b"")
        client = EdgeAgentClient(socket_path, deadline_s=10)
        with pytest.raises(ModelFailedError):
            ensure_running(client, "torn", timeout_s=30, clock=SystemClock(), stop=threading.Event(), start_again=False)
        client.close()
        assert one(check_agent(Path(socket_path)), BROKEN).text.startswith("model torn FAILED: ")
    finally:
        server.stop(5)


def test_something_that_is_no_agent(place: Path) -> None:
    ended = threading.Event()

    def hang_up() -> None:
        while not ended.is_set():
            connection, _ = listener.accept()
            connection.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "other.sock"))
        listener.listen()
        thread = threading.Thread(target=hang_up)
        thread.start()
        finding = one(check_agent(place / "other.sock"), BROKEN)
        ended.set()
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(place / "other.sock"))
        thread.join()
    assert "is no Edge Agent" in finding.text


def test_awss_agent(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one(check_aws_agent(place, wanted=False), OK)
    assert "edge_agent: open" in one(check_aws_agent(place, wanted=True), BROKEN).remedy
    (place / "packages/artifacts-unarchived" / AWS_COMPONENT / "1.1.1").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(place))
    one(check_aws_agent(place, wanted=False), WARNING)
    assert "Python 3.8 or 3.9" in one(check_aws_agent(place, wanted=True), BROKEN).text
    (place / "python3.9").write_text("#!/bin/sh\n")
    (place / "python3.9").chmod(0o755)
    assert "1.1.1" in one(check_aws_agent(place, wanted=True), OK).text


# -- models


def test_models(place: Path, me: Account, stranger: Account) -> None:
    store = place / "models"
    one(check_models(store, None, me), BROKEN)
    store.mkdir()
    store.chmod(0o755)
    one(check_models(store, None, me), WARNING)
    make_package(store / "bolts", version="2.0.0")
    assert one(check_models(store, None, me), OK).text == "bolts 2.0.0, onnx"
    (store / "bolts/mochi/model.onnx").chmod(0o600)
    assert "model.onnx" in one(check_models(store, None, stranger), BROKEN).text
    (store / "bolts/mochi/model.onnx").unlink()
    assert "0 *.onnx files" in one(check_models(store, None, me), BROKEN).text
    (store / "bolts/manifest.json").write_text("{")
    one(check_models(store, None, me), BROKEN)
    store.chmod(0o700)
    assert "stranger may not read" in one(check_models(store, None, stranger), BROKEN).text


def test_a_model_compiled_for_another_machine(place: Path, me: Account) -> None:
    package = make_neo_package(place / "models/bolts")
    assert one(check_models(place / "models", None, me), OK).text.startswith("bolts ")
    library = package / "mochi/compiled.so"
    content = bytearray(library.read_bytes())
    content[18:20] = (40).to_bytes(2, "little")  # ELF's number of 32-bit ARM
    library.write_bytes(bytes(content))
    assert "is compiled for arm" in one(check_models(place / "models", None, me), BROKEN).text


def test_models_that_deployments_brought(place: Path, me: Account) -> None:
    make_package(place / "packages/artifacts-unarchived/com.example.Bolts/1.2.0/model/bolts")
    assert one(check_models(None, place, me), OK).text.startswith("com.example.Bolts ")


# -- gpu


@pytest.fixture
def gpu_package(place: Path) -> Path:
    """A package whose runtime really needs libraries of NVIDIA's names, as the linker notes it."""
    package = make_neo_package(place / "models/bolts")
    cuda = place / "cuda"
    cuda.mkdir()
    for name in ("libcudart.so.10.2", "libnvinfer.so.8"):
        (cuda / name).write_bytes(compile_library("int found(void) { return 1; }", f"-Wl,-soname,{name}"))
    flags = ["-Wl,--no-as-needed", *(str(cuda / name) for name in ("libcudart.so.10.2", "libnvinfer.so.8"))]
    # Not from its cache: the libraries lie elsewhere each time.
    (package / "mochi/libdlr.so").write_bytes(compile_library.__wrapped__("int own(void) { return 2; }", *flags))
    (package / "mochi/compiled.meta").write_text('{"Requirements": {"TargetDeviceType": "gpu"}}')
    return package


def test_libraries_that_a_package_needs(place: Path, gpu_package: Path) -> None:
    packages = {"bolts": gpu_package}
    here = Libraries([str(place / "cuda")], system=())
    assert "CUDA 10.2, TensorRT 8" in one(check_gpu(packages, {}, here, "sm_72"), OK).text
    nothing = Libraries([], system=())
    finding = one(check_gpu(packages, {}, nothing, None), BROKEN)
    assert finding.text == "bolts needs libcudart.so.10.2, libnvinfer.so.8, not here"
    assert one(check_gpu({}, {}, nothing, None), OK).text == "no packaged model wants a GPU"


def test_compiler_options_against_this_machine(place: Path) -> None:
    for name in ("libcudart.so.10.2.300", "libnvinfer.so.8.2.1"):
        (place / name).touch()
    (place / "libcudart.so").symlink_to("libcudart.so.10.2.300")
    here = Libraries([str(place)], system=())
    options = {"gpu-code": "sm_72", "trt-ver": "8.2.1", "cuda-ver": "10.2"}
    assert "GPU sm_72, CUDA 10.2.300, TensorRT 8.2.1" in one(check_gpu({}, options, here, "sm_72"), OK).text
    code, cuda, rt = check_gpu({}, {"gpu-code": "sm_75", "trt-ver": "7.1.3", "cuda-ver": "10.1"}, here, "sm_72")
    assert [finding.status for finding in (code, cuda, rt)] == [BROKEN] * 3
    assert code.text == "gpu-code sm_75, and the GPU here is sm_72"
    assert cuda.text == "cuda-ver 10.1, and CUDA here is 10.2.300"
    nothing = list(check_gpu({}, options, Libraries([], system=()), None))
    assert [finding.status for finding in nothing] == [BROKEN] * 3
    assert "no NVIDIA GPU answers" in nothing[0].text


def test_which_gpu_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Jetson's device tree, and a stand-in for nvidia-smi: neither a Jetson nor a GPU is at hand."""
    tree = tmp_path / "compatible"
    tree.write_bytes(b"nvidia,p2972-0000\0nvidia,tegra194\0")
    assert gpu_code(tree) == "sm_72"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_code(tmp_path / "none") is None
    program = tmp_path / "nvidia-smi"
    for script, code in (("echo 7.5", "sm_75"), ("echo 10.0", "sm_100"), ("echo failed; exit 9", None), ("", None)):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        assert gpu_code(tmp_path / "none") == code


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}'])
def test_compiler_options_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--compiler-options: is no JSON object of texts"):
        read_compiler_options(text)


# -- ipc


@pytest.mark.parametrize("mode", ["classic", "lite"])
def test_ipc(mode: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one(check_ipc(), SKIPPED)
    recipe = place / "recipe.json"
    recipe.write_text(
        '{"ComponentName": "com.example.A", "ComponentVersion": "1.0.0",'
        ' "ComponentConfiguration": {"DefaultConfiguration": {"one": 1, "two": 2}}}'
    )
    with LocalNucleus(place / "ipc.socket", mode=mode, recipe=recipe) as nucleus:
        for name, value in nucleus.environment().items():
            monkeypatch.setenv(name, value)
        assert "2 keys" in one(check_ipc(), OK).text
    with pytest.raises(IpcError):
        list(check_ipc())


# -- clock


class _At(Steps):
    def __init__(self, seconds: int) -> None:
        super().__init__()
        self._wall_ns = seconds * 1_000_000_000

    def wall_ns(self) -> int:
        return self._wall_ns


def test_clock() -> None:
    assert kernel_state() in (None, 0, 1, 2, 3, 4, 5)
    now = _At(1_800_000_000)
    one(check_clock(now, lambda: 0), OK)
    one(check_clock(now, lambda: 5), WARNING)
    one(check_clock(now, lambda: None), SKIPPED)
    assert "1970-01-01T00:00:00Z" in one(check_clock(_At(0), lambda: 0), BROKEN).text


# -- disk


def test_disk(place: Path, me: Account, stranger: Account) -> None:
    one(check_disk(Place("spool", place / "not/yet", least=1), me), OK)
    one(check_disk(Place("spool", place, least=1, wanted=1 << 60), me), WARNING)
    assert "of at least" in one(check_disk(Place("spool", place, least=1 << 60), me), BROKEN).text
    assert "may not write" in one(check_disk(Place("spool", place, least=1), stranger), BROKEN).text


def test_a_read_only_disk(me: Account) -> None:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    found = [m[1] for m in mounts if "ro" in m[3].split(",") and os.statvfs(m[1]).f_flag & os.ST_RDONLY]
    directories = [Path(path) for path in found if Path(path).is_dir()]
    if not directories:
        pytest.skip("nothing is mounted read-only here")
    assert "read-only" in one(check_disk(Place("spool", directories[0], least=1), me), BROKEN).text


# -- cameras


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (96, 80)).save(tmp_path / "images/a.png")
    return tmp_path / "images"


def _lanes(path: Path, *, busy: bool = False, watch: bool = False, timeout_s: float = 20) -> List[Finding]:
    lanes = {"line-1": FolderSettings(path=str(path), watch=watch)}
    return list(check_lanes(lanes, SystemClock(), busy=busy, timeout_s=timeout_s))


def test_cameras_of_the_configuration(images: Path) -> None:
    assert one(_lanes(images), OK).text == "line-1: 96 x 80"
    assert (images / "a.png").is_file()
    one(_lanes(images, busy=True), SKIPPED)
    (images / "a.png").write_bytes(b"no image")
    assert one(_lanes(images), BROKEN).text.startswith("line-1: ")
    (images / "a.png").unlink()
    one(_lanes(images), WARNING)
    assert "no frame within" in one(_lanes(images, watch=True, timeout_s=0.2), WARNING).text
    assert "line-1: " in one(_lanes(images / "none"), BROKEN).text


def test_attached_cameras() -> None:
    first, *others = check_attached()
    assert first.status in (OK, WARNING)
    assert all(finding.status == SKIPPED for finding in others)


# -- all of them


def test_a_check_that_fails_keeps_no_other_from_running() -> None:
    def refused() -> Iterator[Finding]:
        raise PermissionError(13, "Permission denied", "/closed")
        yield Finding(OK, "")

    def crashed() -> Iterator[Finding]:
        raise KeyError("x")
        yield Finding(OK, "")

    def wrong() -> Iterator[Finding]:
        raise ConfigError("file", "is wrong", "Mend it.")
        yield Finding(OK, "")

    found = examine({"a": refused, "b": crashed, "c": wrong, "d": lambda: [Finding(OK, "well")]})
    assert found["a"] == [
        Finding(
            BROKEN,
            "/closed: cannot be looked at (Permission denied)",
            "Run this as root (sudo) or as the components' user.",
        )
    ]
    assert found["b"][0].text == "could not be looked at: KeyError('x')"
    assert found["c"] == [Finding(BROKEN, "file: is wrong", "Mend it.")]
    assert found["d"] == [Finding(OK, "well")]
