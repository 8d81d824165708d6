"""Installs a component on a Greengrass core device: the install step of our recipes.

    python3 install.py --bundle DIRECTORY --zip FILE --work DIRECTORY

It makes `WORK/venv`, a virtual environment of the newest Python 3.8 to 3.13 on the device, from the wheels that the
component carries; from the package index where it carries none for any Python here. The bundle is the unpacked zip,
or the zip itself where the nucleus left it packed (local deployments on nucleus lite).

An environment is made in a directory of its own below WORK/env, and `venv` is switched to it when it is complete; an
install that was interrupted leaves nothing in use. The environment before is kept, since the old version may still
be running; older ones are removed.

This file runs on what the device calls python3, which is 3.6 on some: plain syntax, standard library only.
"""

# No `from __future__ import annotations`: Python 3.6 does not know it.

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

NEWEST, OLDEST = 13, 8  # Python 3.13 to 3.8
COMPLETE = ".complete"
_DESCRIBE = (
    "import json, platform, sys, sysconfig, venv\n"
    "if sys.version_info < (3, 10): import distutils.cmd\n"
    "print(json.dumps([platform.python_implementation(), list(sys.version_info[:2]), sysconfig.get_platform()]))"
)


class InstallError(Exception):
    """Why the component cannot be installed here, and what to do."""


class Python(NamedTuple):
    path: str
    version: str  # "3.11"
    machine: str  # "x86_64", "aarch64"


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Installs the component into WORK/venv.")
    parser.add_argument("--bundle", required=True, help="directory of the unpacked artifact; it need not exist")
    parser.add_argument("--zip", required=True, help="the packed artifact, used where the bundle does not exist")
    parser.add_argument("--work", required=True, help="the component's work directory")
    options = parser.parse_args(arguments)
    # A nucleus that gives up sends SIGTERM: let `finally` clean up.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    try:
        install(Path(options.bundle), Path(options.zip), Path(options.work).resolve())
    except (InstallError, OSError) as error:
        say(f"error: {error}")
        return 1
    return 0


def install(bundle: Path, zip_file: Path, work: Path) -> None:
    """Makes WORK/venv from the bundle or the zip; does nothing where it is there already.

    Raises:
        InstallError: nothing to install from, no usable Python, or pip failed.
        OSError: a file cannot be written or removed: no room, no permission.
    """
    text = read_manifest(bundle, zip_file)
    manifest = json.loads(text)
    home = work / "env"
    unpacked = home / "unpacked"
    environment = home / f"{manifest['version']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if is_usable(environment, manifest):
            say(f"{manifest['component']} {manifest['version']} is installed already")
        else:
            if not (bundle / "bundle.json").is_file():
                bundle = unpack(zip_file, unpacked)
            make(environment, bundle, manifest)
        switch(work, environment)
    finally:
        remove(unpacked)


def read_manifest(bundle: Path, zip_file: Path) -> str:
    """The text of bundle.json, from the directory or else from the zip."""
    path = bundle / "bundle.json"
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8")
        with zipfile.ZipFile(str(zip_file)) as archive:
            return archive.read("bundle.json").decode("utf-8")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InstallError(f"neither {path} nor {zip_file} can be installed from: {error}") from error


def unpack(zip_file: Path, directory: Path) -> Path:
    remove(directory)
    try:
        with zipfile.ZipFile(str(zip_file)) as archive:
            archive.extractall(str(directory))
    except zipfile.BadZipFile as error:
        raise InstallError(f"{zip_file} is damaged: {error}") from error
    return directory


# -- the Python to use


def choose_python(carried: List[str], machine: str) -> Tuple[Python, bool]:
    """The newest Python with carried wheels, or else the newest; and whether wheels are carried for it."""
    found, refused = find_pythons()
    ours = [python for python in found if python.version in carried and python.machine == machine]
    for python in ours or found:
        return python, bool(ours)
    why = "".join(f"; {line}" for line in refused)
    raise InstallError(
        f"no usable Python 3.{OLDEST} to 3.{NEWEST} on this device{why}. Install one: apt-get install python3 "
        "(Ubuntu 18.04 and JetPack 4: python3.8)"
    )


def find_pythons() -> Tuple[List[Python], List[str]]:
    """Usable interpreters, newest first; and why others were refused."""
    directories = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/bin", "/bin"]
    names = [*(f"python3.{minor}" for minor in range(NEWEST, OLDEST - 1, -1)), "python3"]
    found: Dict[str, Python] = {}
    refused: List[str] = []
    seen = set()
    for file in (Path(directory, name) for name in names for directory in directories if directory):
        if not os.access(str(file), os.X_OK) or file.resolve() in seen:
            continue
        seen.add(file.resolve())
        python, reason = describe(file)
        if python is None:
            refused.append(f"{file} {reason}")
        else:
            found.setdefault(python.version, python)
    return sorted(found.values(), key=lambda python: -int(python.version.split(".")[1])), refused


def describe(file: Path) -> Tuple[Optional[Python], str]:
    """What an interpreter is, or None and why it cannot be used."""
    command = [str(file), "-I", "-c", _DESCRIBE]
    try:
        code, output, errors = call(command, environ(), subprocess.PIPE, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"does not run ({error})"
    if code != 0:
        reason = (errors.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
        for module, package in (("distutils", "python3-distutils"), ("venv", "python3-venv")):
            reason += f": apt-get install {package}" if module in reason else ""
        return None, f"cannot be used ({reason})"
    implementation, version, platform = json.loads(output.decode())
    text = ".".join(str(number) for number in version)
    if implementation != "CPython" or version[0] != 3 or not OLDEST <= version[1] <= NEWEST:
        return None, f"is {implementation} {text}"
    return Python(str(file), text, platform.split("-", 1)[1]), ""


# -- the environment


def make(environment: Path, bundle: Path, manifest: Dict[str, Any]) -> None:
    """Makes a complete environment, or none."""
    python, carried = choose_python(sorted(manifest["pythons"]), manifest["machine"])
    say(f"installing {manifest['component']} {manifest['version']} for Python {python.version} ({python.path})")
    wheels = bundle / "wheels"
    # What runs or is named before pip can check hashes is checked here.
    for wheel in (manifest["pip"], manifest["project"]):
        check_hash(wheels / wheel["file"], wheel["sha256"])
    remove(environment)
    try:
        # Without pip: Debian's ensurepip is a package of its own, and its pip may be too old for today's wheels.
        command = [python.path, "-I", "-m", "venv", "--without-pip", str(environment)]
        run(command, "the virtual environment cannot be made", environ())
        pip = [str(environment / "bin" / "python"), "-I", str(wheels / manifest["pip"]["file"] / "pip"), "install"]
        pip += ["--no-input", "--no-cache-dir", "--disable-pip-version-check", "--only-binary=:all:"]
        if carried:
            pip += carried_arguments(environment, wheels, manifest, python.version)
            run(pip, "the carried wheels cannot be installed", environ())
        else:
            say(f"no wheels are carried for Python {python.version} on {python.machine}: using the package index")
            pip.append(str(wheels / manifest["project"]["file"]) + manifest["extras"])
            run(pip, "the package index gave no complete set of wheels", environ(pip_settings=True))
        check_version(environment, manifest)
        os.sync()  # nothing may be called complete that a power cut could still undo
        (environment / COMPLETE).write_text(f"{python.version}\n", encoding="utf-8")
    except BaseException:
        remove(environment)
        raise


def carried_arguments(environment: Path, wheels: Path, manifest: Dict[str, Any], python: str) -> List[str]:
    """Files by path and hash: one version may be carried as several files, for older and for newer systems."""
    lines = []
    for wheel in manifest["pythons"][python]:
        extras = manifest["extras"] if wheel["file"] == manifest["project"]["file"] else ""
        lines.append(f"{wheels / wheel['file']}{extras} --hash=sha256:{wheel['sha256']}\n")
    requirements = environment / "requirements.txt"
    requirements.write_text("".join(lines), encoding="utf-8")
    return ["--isolated", "--no-index", "--require-hashes", "-r", str(requirements)]


def is_usable(environment: Path, manifest: Dict[str, Any]) -> bool:
    """Whether a complete environment is there, and its Python, which belongs to the device, still is too."""
    if not (environment / COMPLETE).is_file():
        return False
    try:
        check_version(environment, manifest)
    except InstallError as error:
        say(f"made anew, since the environment no longer works: {error}")
        return False
    return True


def check_version(environment: Path, manifest: Dict[str, Any]) -> None:
    command = [str(environment / "bin" / "edge-agent"), "--version"]
    said = run(command, "the installed edge-agent does not start", environ())
    if manifest["version"] not in said.split():
        raise InstallError(f"{command[0]} says {said.strip()}, not {manifest['version']}")


def switch(work: Path, environment: Path) -> None:
    """Points WORK/venv at an environment, atomically; keeps the one before and removes the rest."""
    link, new = work / "venv", work / "venv.new"
    before = Path(os.readlink(str(link))).name if link.is_symlink() else ""
    remove(new)
    new.symlink_to(Path("env", environment.name))
    new.replace(link)
    for other in (work / "env").iterdir():
        if other.name not in (environment.name, before):
            remove(other)


# -- tools


def run(command: List[str], failure: str, env: Dict[str, str]) -> str:
    """Runs a command and returns what it says; where it fails, prints that and raises InstallError."""
    try:
        code, output, _ = call(command, env, subprocess.STDOUT)
    except OSError as error:
        raise InstallError(f"{failure}: {error}") from error
    said = output.decode("utf-8", "replace")
    if code != 0:
        say(said.rstrip())
        lines = said.strip().splitlines() or [f"exit status {code}"]
        raise InstallError(f"{failure}: {lines[-1]}")
    return said


def call(
    command: List[str], env: Dict[str, str], stderr: int, timeout: Optional[float] = None
) -> Tuple[int, bytes, bytes]:
    """A command's exit status and what it wrote. However this is left, the command has ended."""
    # A SIGTERM while the child is being started would leave a child that nobody knows: it waits until we hold it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=env,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),  # noqa: PLW1509  # there is one thread
        )
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            output, errors = process.communicate(timeout=timeout)
        finally:
            # It may have ended, and a SIGTERM have come before that was written down.
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process.returncode, output, errors or b""


def environ(*, pip_settings: bool = False) -> Dict[str, str]:
    """The environment without what would lead Python or pip astray; with a HOME, which the nuclei do not give."""
    away = ("PYTHON", "VIRTUAL_ENV") if pip_settings else ("PYTHON", "VIRTUAL_ENV", "PIP_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(away)}
    if not kept.get("HOME") or not Path(kept["HOME"]).is_dir():
        kept["HOME"] = str(Path.cwd())
    return kept


def check_hash(path: Path, expected: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise InstallError(f"{path} is damaged: its SHA-256 is {found}, not {expected}")


def remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(str(path))


def say(text: str) -> None:
    """To the component's log, at once: both nuclei keep stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
