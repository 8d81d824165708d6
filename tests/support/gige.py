"""GigE Vision cameras on loopback: ours, in this process, and the fake one of Aravis, in its own."""

from __future__ import annotations

import contextlib
import ctypes.util
import fcntl
import itertools
import os
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError
from edge_agent.frame import Pixels
from edge_agent.gige_simulator import SimulatedCamera, SimulatorSettings
from edge_agent.gige_simulator.gvcp import PORT

HAS_ARAVIS = ctypes.util.find_library("aravis-0.8") is not None
FAKE_CAMERA = shutil.which("arv-fake-gv-camera-0.8")
FAKE_ADDRESS = "127.0.0.1"

# The fake camera takes the first address of loopback; one test run of a machine has it at a time.
_LOCK = Path("/tmp/edge-agent-tests-gvcp.lock")
_PATIENCE_S = 60

_numbers = itertools.count()


def missing_aravis() -> str:
    return "" if HAS_ARAVIS else "Aravis (Debian package: libaravis-0.8-0)"


def missing_fake() -> str:
    return missing_aravis() or ("" if FAKE_CAMERA else "the fake camera of Aravis (Debian package: aravis-tools)")


def skip_without_aravis() -> None:
    if not HAS_ARAVIS:
        pytest.skip(f"needs {missing_aravis()}")


def free_address() -> str:
    """An address of loopback that is most likely nobody's: other test runs of this machine have cameras too."""
    return f"127.{random.randint(2, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"


def simulated(pictures: Sequence[Pixels], **settings: Any) -> SimulatedCamera:
    """A camera that is plugged in, at an address of its own, with a serial number that no other has."""
    serial = f"T{os.getpid()}-{next(_numbers)}"
    for _ in range(20):
        with contextlib.suppress(CameraError):
            chosen = {"address": free_address(), "serial": serial, **settings}
            camera = SimulatedCamera(SimulatorSettings(**chosen), pictures, SystemClock())
            camera.start()
            return camera
    pytest.fail("no address of loopback is free")


class FakeCamera:
    """The fake camera of Aravis: a process that is really killed."""

    def __init__(self) -> None:
        self._resources = contextlib.ExitStack()

    def start(self) -> None:
        assert FAKE_CAMERA is not None
        self._resources.enter_context(reserved_for_the_fake())
        process = subprocess.Popen([FAKE_CAMERA, "-i", "lo"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._resources.callback(process.wait)
        self._resources.callback(process.kill)
        _wait(lambda: not _address_is_free(), "the fake camera does not listen")

    def stop(self) -> None:
        self._resources.close()


@contextlib.contextmanager
def reserved_for_the_fake() -> Iterator[None]:
    """Its address, kept for a program that starts it itself."""
    with _LOCK.open("w") as lock:
        _wait(lambda: _locked(lock.fileno()), "another test run keeps the fake camera's address")
        _wait(_address_is_free, f"{FAKE_ADDRESS}:{PORT} is taken")
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _address_is_free() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((FAKE_ADDRESS, PORT))
        except OSError:
            return False
    return True


def _wait(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.02)
